"""The chart's key service: its init container's script and two replicas of its `keys.yaml`, on a PostgreSQL
of this machine over TLS. Paths, ports and secrets are replaced; containers there are none."""

import base64
import os
import pathlib
import secrets
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from deploy_envoy import certificate, free_port

REPLICAS = 2
NOBODY = 65534
OWNER, SERVICE = "owner-of-the-schema", "service-of-the-rows"


def as_nobody():
    """PostgreSQL does not run as root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


class Database:
    """A server with the two roles, for connections over TLS with a password."""

    def __init__(self, programs, folder):
        self.programs, self.folder, self.port = pathlib.Path(programs), folder / "pg", free_port()
        self.folder.mkdir()
        data = self.folder / "data"
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        self.run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
        for name in ["tls.crt", "tls.key"]:
            shutil.copy(folder / name, data / name)
            (data / name).chmod(0o600)
            shutil.chown(data / name, *([NOBODY, NOBODY] if os.geteuid() == 0 else [os.geteuid()]))
        who = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
        (data / "pg_hba.conf").write_text(who)
        settings = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        settings += " -c ssl=on -c ssl_cert_file=tls.crt -c ssl_key_file=tls.key"
        self.run("pg_ctl", "-D", data, "-w", "-l", self.folder / "log", "-o", settings, "start")

    def run(self, program, *words):
        command = [self.programs / program, *words]
        # A server that goes on must not hold this end of a pipe.
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **as_nobody())

    def say(self, *words):
        self.run("psql", "-q", "-h", self.folder, "-p", str(self.port), "-U", "postgres", *words)

    def stop(self):
        self.run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")


def secret_files(folder):
    """As kubelet lays them: readable by a group."""
    made = folder / "in"
    made.mkdir()
    for name, source in [("tls.crt", "tls.crt"), ("tls.key", "tls.key"), ("client-ca.pem", "ca.pem")]:
        shutil.copy(folder / source, made / name)
    for name in ["kek-passphrase", "kek.salt", "sim.key"]:
        text = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        (made / name).write_text(text)
    for path in made.iterdir():
        path.chmod(0o440)


def placed(text, folder, home, port, database):
    replaced = {
        "/run/secrets-in": f"{folder}/in",
        "/run/postern": f"{home}/run",
        "/var/lib/postern": f"{home}/var",
        "/etc/postern-database/ca.pem": f"{folder}/ca.pem",
        "db.example:5432": f"localhost:{database.port}",
        "0.0.0.0:8843": f"127.0.0.1:{port}",
    }
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


def asked(port, path, shown=None):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if shown:
        context.load_cert_chain(shown / "tls.crt", shown / "tls.key")
    try:
        address = f"https://127.0.0.1:{port}{path}"
        with urllib.request.urlopen(address, timeout=5, context=context) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def until_ready(running, port, log):
    end = time.monotonic() + 60
    while running.poll() is None and time.monotonic() < end:
        try:
            if asked(port, "/ready") == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"failed: the key service is not ready\n{log.read_text()[-3000:]}")


def service(postern, words, password, log):
    environment = {**os.environ, "PGPASSWORD": password}
    with log.open("a") as out:
        return subprocess.Popen([postern, *words], env=environment, stdout=out, stderr=out)


def check(postern, programs, config, script, good, expect):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        certificate(folder)
        secret_files(folder)
        database = Database(programs, folder)
        running = []
        try:
            database.say("-f", pathlib.Path("host/keys/roles.example.sql").resolve())
            for role, password in [("owner", OWNER), ("service", SERVICE)]:
                database.say("-c", f"ALTER ROLE postern_{role} PASSWORD '{password}'")
            ports = [free_port() for _ in range(REPLICAS)]
            for number, port in enumerate(ports):
                home = folder / f"replica{number}"
                for part in ["run", "var"]:
                    (home / part).mkdir(parents=True)
                (home / "keys.yaml").write_text(placed(config, folder, home, port, database))
                if number == 0:
                    migrate(postern, home, good, expect)
                own = placed(script, folder, home, port, database)
                subprocess.run(["sh", "-ec", own], check=True)
                words = ["keys", "serve", "--config", str(home / "keys.yaml")]
                running.append(service(postern, words, SERVICE, home / "log"))
            for number, (one, port) in enumerate(zip(running, ports, strict=True)):
                until_ready(one, port, folder / f"replica{number}/log")
                expect(asked(port, "/health") == 200, f"replica {number}: /health without a certificate")
                evidence = "/crp/v1/evidence"
                expect(asked(port, evidence) == 403, f"replica {number}: CRP without a certificate")
                expect(asked(port, evidence, folder) == 200, f"replica {number}: CRP with one")
                good(f"key service: replica {number} on PostgreSQL")
        finally:
            for one in running:
                one.terminate()
                one.wait(timeout=20)
            database.stop()


def migrate(postern, home, good, expect):
    """The Job has no secret but the owner's password: no file of the Secret is there yet."""
    words = ["keys", "migrate", "--config", str(home / "keys.yaml"), "--owner", "postern_owner"]
    code = service(postern, words, OWNER, home / "log").wait(timeout=60)
    expect(code == 0, f"migrate ends with {code}: {(home / 'log').read_text()[-2000:]}")
    good("key service: schema migrated")
