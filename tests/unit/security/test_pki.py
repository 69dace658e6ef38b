"""Certificates: judged by the real openssl, not by the library that made them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bridge.security.ca_directory import CaDirectory, CaError
from bridge.security.identity import IdentityError, device_from_certificate
from bridge.security.pki import Authority, Validity


def openssl(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


def verify(ca: Path, purpose: str, certificate: Path) -> subprocess.CompletedProcess[str]:
    crl = ("-crl_check", "-CRLfile", ca / "crl.pem")
    return openssl("verify", "-x509_strict", "-CAfile", ca / "ca.pem", *crl, "-purpose", purpose, certificate)


def read_all(directory: Path) -> None:
    ca = CaDirectory.load(directory)
    ca.issued()
    ca.revoked()


def test_openssl_takes_a_device_certificate_for_a_client_and_for_nothing_else(site, tmp_path):
    [path] = site.ours.issue(["dev-1"], site.devices)
    assert verify(site.ours.directory, "sslclient", path).returncode == 0
    as_server = verify(site.ours.directory, "sslserver", path)
    assert as_server.returncode != 0
    assert "purpose" in as_server.stderr


def test_openssl_takes_the_server_certificate_for_a_server_and_for_nothing_else(site):
    directory = site.ours.directory
    assert verify(directory, "sslserver", directory / "server.pem").returncode == 0
    assert verify(directory, "sslclient", directory / "server.pem").returncode != 0


def test_openssl_refuses_a_certificate_of_another_ca(site):
    [path] = site.theirs.issue(["dev-1"], site.devices)
    assert verify(site.ours.directory, "sslclient", path).returncode != 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "gateway.example", "10.7.0.2"])
def test_the_server_certificate_names_every_host(tmp_path, host):
    hosts = ("localhost", "127.0.0.1", "::1", "gateway.example", "10.7.0.2", "10.7.0.2")
    CaDirectory.create(tmp_path / "ca", "CA", hosts)
    check = "-verify_ip" if host[0] in ":1" else "-verify_hostname"
    assert openssl("verify", "-CAfile", tmp_path / "ca/ca.pem", check, host, tmp_path / "ca/server.pem").returncode == 0
    assert openssl(
        "verify", "-CAfile", tmp_path / "ca/ca.pem", "-verify_hostname", "evil", tmp_path / "ca/server.pem"
    ).returncode


def test_the_bundle_holds_chain_and_key_that_belong_together(site):
    [path] = site.ours.issue(["dev-1"], site.devices)
    of_key = openssl("pkey", "-in", path, "-pubout").stdout
    of_certificate = openssl("x509", "-in", path, "-noout", "-pubkey").stdout
    assert of_key == of_certificate != ""
    assert [
        certificate.subject.rfc4514_string() for certificate in x509.load_pem_x509_certificates(path.read_bytes())
    ] == [
        "CN=dev-1",
        "CN=our CA",
    ]


def test_keys_are_for_their_owner_alone(site):
    [path] = site.ours.issue(["dev-1"], site.devices)
    keys = [path, site.ours.directory / "ca.key", site.ours.directory / "server.key"]
    assert [key.stat().st_mode & 0o777 for key in keys] == [0o600] * 3


def test_nothing_is_overwritten_and_nothing_half_done(site):
    site.ours.issue(["dev-2"], site.devices)
    before = (site.devices / "dev-2.pem").read_bytes()
    with pytest.raises(CaError, match=r"dev-2\.pem exists"):
        site.ours.issue(["dev-1", "dev-2"], site.devices)
    with pytest.raises(CaError, match="exists"):
        CaDirectory.create(site.ours.directory, "again")
    assert sorted(path.name for path in site.devices.iterdir()) == ["dev-2.pem"]
    assert (site.devices / "dev-2.pem").read_bytes() == before


def test_the_index_knows_every_certificate_and_its_state(site):
    past = Validity(datetime.now(UTC) - timedelta(days=3), datetime.now(UTC) - timedelta(days=1))
    [valid] = site.ours.issue(["good"], site.devices)
    site.ours.issue(["old"], site.devices, past)
    ca = CaDirectory.load(site.ours.directory)
    now = datetime.now(UTC)
    states = {entry.id: entry.state(ca.revoked(), now) for entry in ca.issued()}
    assert states == {"busbridge": "valid", "good": "valid", "old": "expired"}
    serial = openssl("x509", "-in", valid, "-noout", "-serial").stdout.strip()
    assert serial == f"serial={ca.issued()[1].serial}"


def test_a_revoked_serial_reads_as_revoked(site):
    site.ours.issue(["gone"], site.devices)
    serial = site.ours.issued()[-1].serial
    revoked = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(datetime.now(UTC)).build()
    (site.ours.directory / "crl.pem").write_bytes(site.ours.authority.crl([revoked], number=2))
    assert site.ours.revoked() == {serial}
    assert site.ours.issued()[-1].state(site.ours.revoked(), datetime.now(UTC)) == "revoked"
    assert "revoked" in verify(site.ours.directory, "sslclient", site.devices / "gone.pem").stderr


def test_no_certificate_outlives_its_ca():
    ca = Authority.create("short", Validity.days(10))
    device = ca.issue_device("dev-1", Validity.days(100))
    assert device.certificate.not_valid_after_utc == ca.credential.certificate.not_valid_after_utc


def test_a_long_device_id_goes_into_a_uri(site):
    device = "a" * 128
    [path] = site.ours.issue([device], site.devices)
    assert verify(site.ours.directory, "sslclient", path).returncode == 0
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    assert device_from_certificate(certificate.public_bytes(Encoding.DER)) == device


def test_a_bad_device_id_gets_no_certificate(site):
    with pytest.raises(IdentityError):
        site.ours.issue(["ok", "not/ok"], site.devices)
    assert not site.devices.exists()


@pytest.mark.parametrize(
    ("file", "content"), [("ca.key", b""), ("ca.pem", b"nonsense"), ("issued.jsonl", b"{}\n"), ("crl.pem", b"x")]
)
def test_a_damaged_ca_directory_says_so(site, file, content):
    (site.ours.directory / file).write_bytes(content)
    with pytest.raises(CaError):
        read_all(site.ours.directory)


def test_another_cas_key_does_not_pass_for_ours(site):
    (site.ours.directory / "ca.key").write_bytes((site.theirs.directory / "ca.key").read_bytes())
    with pytest.raises(CaError, match="not the one of its certificate"):
        CaDirectory.load(site.ours.directory)


def test_a_leaf_is_no_ca(site):
    for leaf, ca in (("server.pem", "ca.pem"), ("server.key", "ca.key")):
        (site.ours.directory / ca).write_bytes((site.ours.directory / leaf).read_bytes())
    with pytest.raises(CaError, match="not a CA"):
        CaDirectory.load(site.ours.directory)
