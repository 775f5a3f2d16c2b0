"""The chart's Envoy, run on this machine with ports, keys and certificates of its own."""

import base64
import datetime
import os
import pathlib
import re
import secrets
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PEM = serialization.Encoding.PEM
KEYS = ("GATE", "CREDENTIAL", "AUDIT", "PERMIT", "SHARED")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def drawn_key():
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


def certificate(folder):
    """An authority, and one certificate of it for everything: who is who matters nothing here."""
    now = datetime.datetime.now(datetime.UTC)
    end = now + datetime.timedelta(days=30)
    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def signed(key, name, *extensions):
        made = x509.CertificateBuilder(named("authority"), named(name), key.public_key())
        made = made.serial_number(x509.random_serial_number())
        made = made.not_valid_before(now).not_valid_after(end)
        for extension in extensions:
            made = made.add_extension(extension, critical=False)
        return made.sign(authority, hashes.SHA256()).public_bytes(PEM)

    ca = x509.BasicConstraints(ca=True, path_length=None)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    (folder / "ca.pem").write_bytes(signed(authority, "authority", ca))
    (folder / "tls.crt").write_bytes(signed(own, "localhost", names))
    form = serialization.PrivateFormat.PKCS8
    (folder / "tls.key").write_bytes(own.private_bytes(PEM, form, serialization.NoEncryption()))


def named(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def placed(text, folder, ports):
    """The same configuration, with files and ports of this machine."""
    text = re.sub(r"/etc/postern/modules/([a-z]+)/plugin\.wasm", r"target/plugins/\1.wasm", text)
    text = text.replace("/etc/postern/keys-ca/keys-ca.pem", f"{folder}/ca.pem")
    text = re.sub(r"/etc/postern/(tls|client)/", f"{folder}/", text)
    text = text.replace("/etc/ssl/certs/ca-certificates.crt", f"{folder}/ca.pem")
    for old, new in ports.items():
        text = text.replace(f"port_value: {old}", f"port_value: {new}")
    return text.replace("address: 0.0.0.0", "address: 127.0.0.1")


def asked(port, path):
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", timeout=5, context=trusting) as answer:
        return answer.read().decode()


def metrics(envoy, text):
    """What it shows for Prometheus at its listener; nothing else of its admin interface."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        certificate(folder)
        ports = {8443: free_port(), 9901: free_port(), 9902: free_port()}
        (folder / "envoy.yaml").write_text(placed(text, folder, ports))
        drawn = {f"POSTERN_{key}_KEY": drawn_key() for key in KEYS}
        log = (folder / "log").open("w+")
        words = [envoy, "-c", str(folder / "envoy.yaml"), "--concurrency", "1", "--disable-hot-restart"]
        running = subprocess.Popen(words, env={**os.environ, **drawn}, stdout=log, stderr=log)
        try:
            return until_ready(running, ports[9902], folder / "log")
        finally:
            running.terminate()
            running.wait(timeout=20)


def until_ready(running, port, log):
    end = time.monotonic() + 60
    while running.poll() is None and time.monotonic() < end:
        try:
            if "LIVE" in asked(port, "/ready"):
                break
        except OSError:
            time.sleep(0.1)
    else:
        raise SystemExit(f"failed: Envoy does not run the chart's configuration\n{log.read_text()[-3000:]}")
    for hidden in ["/config_dump", "/quitquitquit", "/stats", "/"]:
        try:
            asked(port, hidden)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                continue
        raise SystemExit(f"failed: {hidden} of the admin interface can be reached")
    return asked(port, "/stats/prometheus")
