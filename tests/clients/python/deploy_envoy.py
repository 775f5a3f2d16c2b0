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

KEYS = ("GATE", "CREDENTIAL", "AUDIT", "PERMIT", "SHARED")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def drawn_key():
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


def certificate(folder):
    """For everything that the configuration reads: who is who matters nothing here."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    end, number = now + datetime.timedelta(days=30), x509.random_serial_number()
    made = x509.CertificateBuilder(name, name, key.public_key(), number, now, end)
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "tls.crt").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    private = key.private_bytes(pem, form, serialization.NoEncryption())
    (folder / "tls.key").write_bytes(private)


def placed(text, folder, ports):
    """The same configuration, with files and ports of this machine."""
    text = re.sub(r"/etc/postern/modules/([a-z]+)/plugin\.wasm", r"target/plugins/\1.wasm", text)
    text = text.replace("/etc/postern/keys-ca/keys-ca.pem", f"{folder}/tls.crt")
    text = re.sub(r"/etc/postern/(tls|client)/", f"{folder}/", text)
    text = text.replace("/etc/ssl/certs/ca-certificates.crt", f"{folder}/tls.crt")
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
