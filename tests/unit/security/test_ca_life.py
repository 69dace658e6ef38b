"""A CA over the years: requests, revocations, renewals, a CA above it. Judged by the real openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from bridge.credentials import PublicSecret, refuse_if_public
from bridge.security.ca_directory import CaDirectory, CaError
from bridge.security.identity import IdentityError
from bridge.security.pkcs12 import BundleError, pkcs12
from bridge.security.pki import Validity
from bridge.security.request import RequestError, read_request


def openssl(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


def request(directory: Path, subject: str, *, key: str = "P-256", extra: tuple[object, ...] = ()) -> Path:
    """A request as a device makes it, with openssl."""
    kinds = {"ed25519": ("-algorithm", "ed25519"), "rsa": ("-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048")}
    kinds["weak"] = ("-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:1024")
    kind = kinds.get(key, ("-algorithm", "ec", "-pkeyopt", f"ec_paramgen_curve:{key}"))
    private, path = directory / "device.key", directory / "device.csr"
    assert openssl("genpkey", *kind, "-out", private).returncode == 0
    made = openssl("req", "-new", "-key", private, "-subj", subject, "-out", path, *extra)
    assert made.returncode == 0, made.stderr
    return path


def verify(ca: CaDirectory, certificate: Path, *more: object) -> subprocess.CompletedProcess[str]:
    crl = ("-crl_check", "-CRLfile", ca.directory / "crl.pem")
    return openssl("verify", "-CAfile", ca.directory / "ca.pem", *crl, "-purpose", "sslclient", *more, certificate)


@pytest.mark.parametrize("key", ["P-256", "P-384", "ed25519", "rsa"])
def test_a_device_keeps_its_key_to_itself(site, tmp_path, key):
    data = request(tmp_path, "/CN=plc-7", key=key).read_bytes()
    [path] = site.ours.sign([read_request(data)], site.devices)
    assert path == site.devices / "plc-7.pem"
    assert b"PRIVATE KEY" not in path.read_bytes()
    assert verify(site.ours, path).returncode == 0
    of_certificate = openssl("x509", "-in", path, "-noout", "-pubkey").stdout
    assert of_certificate == openssl("pkey", "-in", tmp_path / "device.key", "-pubout").stdout != ""
    assert [entry.id for entry in site.ours.issued()][-1] == "plc-7"


def test_a_request_gets_a_device_s_certificate_whatever_it_asks_for(site, tmp_path):
    wants = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "extendedKeyUsage=serverAuth")
    data = request(tmp_path, "/CN=plc-7/O=Somebody", extra=wants).read_bytes()
    [path] = site.ours.sign([read_request(data)], site.devices)
    certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    assert certificate.subject.rfc4514_string() == "CN=plc-7"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert verify(site.ours, path).returncode == 0
    assert openssl("verify", "-CAfile", site.ours.directory / "ca.pem", "-purpose", "sslserver", path).returncode != 0


def test_the_name_of_a_request(tmp_path):
    uri = ("-addext", "subjectAltName=URI:urn:busbridge:device:pump-3")
    assert read_request(request(tmp_path, "/CN=other", extra=uri).read_bytes()).device == "pump-3"
    der = tmp_path / "device.der"
    openssl("req", "-in", request(tmp_path, "/CN=plc-7"), "-outform", "DER", "-out", der)
    assert read_request(der.read_bytes()).device == "plc-7"
    assert read_request(der.read_bytes(), "plc-8").device == "plc-8"


@pytest.mark.parametrize(
    ("subject", "why"), [("/O=nobody", "neither"), ("/CN=a/CN=b", "more than one"), ("/CN=a\\/b", "a/b")]
)
def test_a_request_without_a_usable_name(tmp_path, subject, why):
    with pytest.raises(IdentityError, match=why):
        read_request(request(tmp_path, subject).read_bytes())


def test_requests_that_are_refused(tmp_path):
    with pytest.raises(RequestError, match="1024 bits"):
        read_request(request(tmp_path, "/CN=plc-7", key="weak").read_bytes())
    with pytest.raises(RequestError, match="neither EC"):
        read_request(request(tmp_path, "/CN=plc-7", key="secp256k1").read_bytes())
    good = tmp_path / "good.der"
    openssl("req", "-in", request(tmp_path, "/CN=plc-7"), "-outform", "DER", "-out", good)
    data = bytearray(good.read_bytes())
    data[data.index(b"plc-7")] ^= 1
    with pytest.raises(RequestError, match="signature"):
        read_request(bytes(data))
    for nonsense in (b"", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", bytes(100)):
        with pytest.raises(RequestError, match="not a certificate request"):
            read_request(nonsense)


def test_a_signature_replaces_an_older_one_only_when_renewing(site, tmp_path):
    read = read_request(request(tmp_path, "/CN=plc-7").read_bytes())
    [path] = site.ours.sign([read], site.devices)
    first = path.read_bytes()
    with pytest.raises(CaError, match="exists"):
        site.ours.sign([read], site.devices)
    assert path.read_bytes() == first
    site.ours.sign([read], site.devices, renewing=True)
    assert path.read_bytes() != first
    with pytest.raises(CaError, match="twice"):
        site.ours.sign([read, read], tmp_path / "other")


def test_openssl_refuses_who_is_revoked_and_nobody_else(site):
    good, bad = site.ours.issue(["good", "bad"], site.devices)
    revoked = site.ours.revoke(["bad"], "keyCompromise")
    assert [entry.id for entry in revoked] == ["bad"]
    assert "revoked" in verify(site.ours, bad).stderr
    assert verify(site.ours, good).returncode == 0
    text = openssl("crl", "-in", site.ours.directory / "crl.pem", "-noout", "-text").stdout
    assert "Key Compromise" in text
    assert "X509v3 CRL Number: \n                2" in text
    assert {entry.id: entry.state(site.ours.revoked(), entry.issued) for entry in site.ours.issued()} == {
        "busbridge": "valid",
        "good": "valid",
        "bad": "revoked",
    }


def test_a_serial_number_revokes_one_certificate_and_a_name_all_of_them(site):
    [path] = site.ours.issue(["dev-1"], site.devices)
    old = path.read_bytes()
    site.ours.renew(["dev-1"], site.devices)
    first, second = [entry for entry in site.ours.issued() if entry.id == "dev-1"]
    (site.devices / "old.pem").write_bytes(old)
    assert [entry.serial for entry in site.ours.revoke([first.serial])] == [first.serial]
    assert verify(site.ours, site.devices / "old.pem").returncode != 0
    assert verify(site.ours, path).returncode == 0
    assert [entry.serial for entry in site.ours.revoke(["dev-1"])] == [second.serial]
    before = (site.ours.directory / "crl.pem").read_bytes()
    with pytest.raises(CaError, match="no valid certificate of dev-1, nobody"):
        site.ours.revoke(["dev-1", "nobody"])
    assert (site.ours.directory / "crl.pem").read_bytes() == before


def test_a_renewed_certificate_has_the_name_and_a_new_key(site):
    [path] = site.ours.issue(["dev-1"], site.devices, Validity.days(10))
    assert site.ours.ending_within(11) == ["dev-1"]
    key = openssl("pkey", "-in", path, "-pubout").stdout
    [renewed] = site.ours.renew(["dev-1"], site.devices)
    assert renewed == path
    assert path.stat().st_mode & 0o777 == 0o600
    assert verify(site.ours, path).returncode == 0
    assert openssl("pkey", "-in", path, "-pubout").stdout != key
    assert site.ours.ending_within(11) == []
    with pytest.raises(CaError, match="has no certificate of this CA"):
        site.ours.renew(["dev-2"], site.devices)


def test_the_server_certificate_is_renewed_for_the_same_hosts(tmp_path):
    ca = CaDirectory.create(tmp_path / "ca", "CA", ["gateway.example", "10.7.0.2"])
    certificate, key = tmp_path / "ca/server.pem", tmp_path / "ca/server.key"
    old = certificate.read_bytes()
    key.chmod(0o640)
    new = ca.renew_server(certificate, key)
    assert certificate.read_bytes() != old
    assert key.stat().st_mode & 0o777 == 0o640
    for check, host in (("-verify_hostname", "gateway.example"), ("-verify_ip", "10.7.0.2")):
        assert openssl("verify", "-CAfile", tmp_path / "ca/ca.pem", check, host, certificate).returncode == 0
    assert (
        openssl("pkey", "-in", key, "-pubout").stdout == openssl("x509", "-in", certificate, "-noout", "-pubkey").stdout
    )
    assert f"{new.serial_number:X}" in ca.issued()[-1].serial
    (tmp_path / "ca/server.pem").write_text("nothing")
    with pytest.raises(CaError, match="no server certificate to renew"):
        ca.renew_server(certificate, key)


def test_a_site_s_ca_below_the_company_s(tmp_path):
    root = CaDirectory.create_root(tmp_path / "root", "Works")
    site = CaDirectory.create(tmp_path / "site", "Site 7", ["127.0.0.1"], above=root)
    [path] = site.issue(["dev-1"], tmp_path / "devices")
    trusted, chain = tmp_path / "root/ca.pem", tmp_path / "site/client-ca.pem"
    assert openssl("verify", "-x509_strict", "-CAfile", trusted, "-untrusted", chain, path).returncode == 0
    assert openssl("verify", "-CAfile", tmp_path / "site/ca.pem", tmp_path / "site/server.pem").returncode == 0
    names = [each.subject.rfc4514_string() for each in x509.load_pem_x509_certificates(path.read_bytes())]
    assert names == ["CN=dev-1", "CN=Site 7", "CN=Works"]
    assert [(entry.id, entry.use) for entry in root.issued()] == [("Site 7", "ca")]
    again = CaDirectory.load(tmp_path / "site")
    [second] = again.issue(["dev-2"], tmp_path / "devices")
    assert len(x509.load_pem_x509_certificates(second.read_bytes())) == 3
    assert [entry.id for entry in root.revoke(["Site 7"])] == ["Site 7"]
    with pytest.raises(ValueError, match="signs no CAs"):
        CaDirectory.create(tmp_path / "deeper", "Hall 3", ["127.0.0.1"], above=site)
    assert not (tmp_path / "deeper").exists()


def test_pkcs12_is_opened_by_openssl_with_its_password_alone(site, tmp_path):
    [path] = site.ours.issue(["dev-1"], site.devices)
    file = tmp_path / "dev-1.p12"
    file.write_bytes(pkcs12(path.read_bytes(), "dev-1", "correct horse"))
    opened = openssl("pkcs12", "-in", file, "-passin", "pass:correct horse", "-nodes")
    assert opened.returncode == 0, opened.stderr
    leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
    assert leaf in x509.load_pem_x509_certificates(opened.stdout.encode())
    assert "PRIVATE KEY" in opened.stdout
    assert openssl("pkcs12", "-in", file, "-passin", "pass:wrong", "-nodes").returncode != 0
    for bundle, password in ((path.read_bytes(), ""), (b"", "x"), ((site.ours.directory / "ca.pem").read_bytes(), "x")):
        with pytest.raises(BundleError):
            pkcs12(bundle, "x", password)


@pytest.mark.parametrize(("mode", "public"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_a_secret_that_everybody_can_read_is_none(tmp_path, mode, public):
    path = tmp_path / "server.key"
    path.write_text("secret")
    path.chmod(mode)
    if public:
        with pytest.raises(PublicSecret, match=f"mode {mode:04o}"):
            refuse_if_public(path)
    else:
        refuse_if_public(path)
