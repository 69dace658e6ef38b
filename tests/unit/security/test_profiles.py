"""certs/*.cnf: what openssl makes by them works with our listener, and is what our own commands make."""

from __future__ import annotations

import os
import re
import shlex
import socket
import ssl
import subprocess
import threading
from pathlib import Path

from cryptography import x509

from bridge import config
from bridge.security import tls
from bridge.security.identity import device_from_certificate

PROFILES = Path(__file__).parents[3] / "certs"


def run_head(profile: str, directory: Path) -> None:
    """Run the commands in a profile's head, as they stand there."""
    text = (PROFILES / profile).read_text()
    (directory / profile).write_text(text)
    for line in re.findall(r"^#   (.*)$", text, re.M):
        words = shlex.split(line)
        settings = [word for word in words if re.match(r"[A-Z]+=", word)]
        environment = {**os.environ, **dict(word.split("=", 1) for word in settings)}
        command = words[len(settings) :]
        subprocess.run(command, cwd=directory, env=environment, check=True, capture_output=True)


def extensions(path: Path) -> dict[str, tuple[bool, object]]:
    """Return the extensions by OID, without the values of those that hold the keys' own identifiers or names."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    own = (x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier, x509.SubjectAlternativeName)
    return {
        extension.oid.dotted_string: (extension.critical, None if isinstance(extension.value, own) else extension.value)
        for extension in certificate.extensions
    }


def test_openssl_makes_the_same_certificates_by_our_profiles(site, tmp_path):
    for profile in ("ca.cnf", "server.cnf", "device.cnf"):
        run_head(profile, tmp_path)
    [device] = site.ours.issue(["dev-00001"], site.devices)
    assert extensions(tmp_path / "ca.pem") == extensions(site.ours.directory / "ca.pem")
    assert extensions(tmp_path / "server.pem") == extensions(site.ours.directory / "server.pem")
    assert extensions(tmp_path / "dev.pem") == extensions(device)


def test_a_listener_takes_them(tmp_path):
    for profile in ("ca.cnf", "server.cnf", "device.cnf"):
        run_head(profile, tmp_path)
    settings = config.Tls(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    client.load_cert_chain(tmp_path / "dev.pem", tmp_path / "dev.key")
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=lambda: client.wrap_socket(theirs, server_hostname="gateway.example").close())
    thread.start()
    with ours, tls.server_context(settings).wrap_socket(ours, server_side=True) as encrypted:
        assert device_from_certificate(encrypted.getpeercert(binary_form=True) or b"") == "dev-00001"
    thread.join(5)
