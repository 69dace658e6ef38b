"""A company's PKI that is there already, made by openssl alone: a root, two CAs one below the other, a list in DER.

As docs/operations.md has it ("A CA that is there already"): RSA above and EC below, leaves for clients and servers at
once with a DNS name, as step-ca's and Vault's usual ones are.
"""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from tests.interop.conftest import NewGateway
from tests.interop.gateway import Gateway, wait_until
from tests.interop.wire import DISCONNECT, PUBACK, Wire

RSA, EC = ("-newkey", "rsa:2048"), ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384")
CA_CONF = """
[ca]
default_ca = here
[here]
database = {directory}/{name}.index
serial = {directory}/{name}.serial
crlnumber = {directory}/{name}.number
new_certs_dir = {directory}
default_md = sha256
default_days = 30
default_crl_days = 7
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
organizationalUnitName = optional
"""
AUTHORITY = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
LEAF = (
    "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
    "extendedKeyUsage=serverAuth,clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
)


class Company:
    """Its CAs, each with openssl's little database."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._run("req", "-x509", *RSA, "-nodes", "-subj", "/CN=Works Root", "-keyout", "root.key", "-out", "root.pem")
        self._open("root")
        for name, above, keys in (("region", "root", RSA), ("site", "region", EC)):
            self.sign(name, above, AUTHORITY, f"/CN=Works {name}", keys)
            self._open(name)

    def sign(self, name: str, by: str, extensions: str, subject: str, keys: tuple[str, ...] = EC) -> Path:
        """A certificate and its key, `NAME.pem` and `NAME.key`; returns the former."""
        (self.directory / f"{name}.ext").write_text(extensions)
        self._run("req", "-new", *keys, "-nodes", "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signing = ("-keyfile", f"{by}.key", "-cert", f"{by}.pem", "-extfile", f"{name}.ext")
        self._ca(by, *signing, "-in", f"{name}.csr", "-out", f"{name}.pem", "-notext", "-batch")
        return self.directory / f"{name}.pem"

    def device(self, name: str, *above: str, unit: str = "Panels") -> Path:
        """Leaf, the CAs above it, and key in one file, as firmware is given it."""
        names = f"subjectAltName=DNS:{name}.devices.works.example\n"
        leaf = self.sign(name, "site", LEAF + names, f"/OU={unit}/CN={name}")
        parts = (leaf, *(self.directory / f"{each}.pem" for each in above), self.directory / f"{name}.key")
        bundle = self.directory / f"{name}.bundle.pem"
        bundle.touch(mode=0o600)
        bundle.write_bytes(b"".join(part.read_bytes() for part in parts))
        return bundle

    def lists(self, *names: str) -> bytes:
        """The CAs' revocation lists, fetched in DER as a CA's web server gives them, and turned into one PEM file."""
        found = b""
        for name in names:
            signing = ("-keyfile", f"{name}.key", "-cert", f"{name}.pem")
            self._ca(name, *signing, "-gencrl", "-out", f"{name}.crl.pem")
            self._run("crl", "-in", f"{name}.crl.pem", "-outform", "DER", "-out", f"{name}.crl")
            self._run("crl", "-inform", "DER", "-in", f"{name}.crl", "-out", f"{name}.again.pem")
            found += (self.directory / f"{name}.again.pem").read_bytes()
        return found

    def revoke(self, name: str, by: str) -> None:
        self._ca(by, "-keyfile", f"{by}.key", "-cert", f"{by}.pem", "-revoke", f"{name}.pem")

    def _open(self, name: str) -> None:
        (self.directory / f"{name}.index").touch()
        for kind in ("serial", "number"):
            (self.directory / f"{name}.{kind}").write_text("1001\n")
        (self.directory / f"{name}.conf").write_text(CA_CONF.format(directory=self.directory, name=name))

    def _ca(self, name: str, *arguments: str) -> None:
        self._run("ca", "-config", f"{name}.conf", *arguments)

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, cwd=self.directory, check=False)
        assert done.returncode == 0, done.stderr


def put(path: Path, content: bytes) -> None:
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)


def connect(gateway: Gateway, bundle: Path, device: str) -> Wire:
    context = ssl.create_default_context(cafile=str(gateway.authority.pem))
    context.load_cert_chain(bundle)
    return Wire(gateway.tls_port, device, tls=context, version=5)


def is_let_in(gateway: Gateway, bundle: Path, device: str) -> bool:
    try:
        with connect(gateway, bundle, device) as wire:
            wire.connected()
            return True
    except OSError:
        return False


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path / "company")


@pytest.mark.parametrize("trusted", ["root", "region", "site"])
def test_devices_below_two_intermediates(new_gateway: NewGateway, company: Company, trusted: str) -> None:
    made = new_gateway('[acl]\n[acl.roles.panel]\nou = ["Panels"]\npublish = ["panels/#"]\n')
    used, crl = made.directory / "client-ca.pem", made.directory / "crl.pem"
    put(used, (company.directory / f"{trusted}.pem").read_bytes())
    put(crl, company.lists("site", "region", "root"))
    identity = 'identity = "san-dns"\nidentity_template = "{device}.devices.works.example"\n'
    text = made.config.read_text().replace("tls = {", f"{identity}tls = {{")
    made.config.write_text(text.replace(f'"{made.authority.pem}"', f'"{used}", crl = "{crl}"'))
    whole, alone = company.device("plc-7", "site", "region"), company.device("plc-8")
    other = company.device("plc-9", "site", "region", unit="Pumps")
    gateway = made.start()
    assert is_let_in(gateway, alone, "plc-8") == (trusted == "site"), "the CAs between are the device's to send"
    with connect(gateway, whole, "plc-7") as wire, connect(gateway, other, "plc-9") as staying:
        assert [wire.connected(), staying.connected()] == [False, False]
        for each, reason in ((wire, 0), (staying, 0x87)):
            each.publish("panels/1", b"x", 1, 1)
            kind, body = each.receive()
            assert (kind, body[2] if len(body) > 2 else 0) == (PUBACK, reason), "its unit is a role"
        company.revoke("plc-7", "site")
        put(crl, company.lists("site", "region", "root"))
        assert wire.receive() == (DISCONNECT, b"\x87")
        assert not is_let_in(gateway, whole, "plc-7")
        company.revoke("site", "region")
        put(crl, company.lists("site", "region", "root"))
        assert staying.receive() == (DISCONNECT, b"\x87"), "a CA that is revoked takes its devices with it"
        assert not is_let_in(gateway, other, "plc-9")
        wait_until(
            lambda: "its certificate has been revoked; it says it is 'plc-9'" in gateway.log(), "a word about it"
        )
