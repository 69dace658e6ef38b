"""Certificates of a site under test, made with `cryptography` alone: good ones, and those that must be refused.

The product's own PKI makes only good ones, and a test of who is let in should not lean on the code under test.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


def _name(common_name: str, units: Sequence[str] = ()) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


class Authority:
    """A certificate authority (EC P-256) with its certificate in `DIRECTORY/ca.pem`."""

    def __init__(self, directory: Path, name: str = "busbridge test CA") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.pem = directory / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(name)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = self._builder(self._subject, self._key.public_key(), -DAY, 30 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(usage, critical=True)
        self.pem.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def server(self) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1 and localhost: paths of the certificate and of its key."""
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        certificate, key = self._issue("localhost", ExtendedKeyUsageOID.SERVER_AUTH, -DAY, 30 * DAY, names)
        certificate_path, key_path = self.directory / "server.pem", self.directory / "server.key"
        certificate_path.write_bytes(certificate)
        key_path.touch(mode=0o600)
        key_path.write_bytes(key)
        return certificate_path, key_path

    def device(
        self,
        name: str,
        starts: datetime.timedelta = -DAY,
        ends: datetime.timedelta = 30 * DAY,
        into: Path | None = None,
        *,
        units: Sequence[str] = (),
        names: x509.SubjectAlternativeName | None = None,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    ) -> Path:
        """A device's certificate and key in one file, `ID.pem`; valid from `starts` to `ends`, counted from now."""
        certificate, key = self._issue(name, usage, starts, ends, names, units)
        path = (into or self.directory) / f"{name}.pem"
        path.touch(mode=0o600)
        path.write_bytes(certificate + key)
        return path

    def revoke(self, *devices: Path, path: Path | None = None) -> Path:
        """A revocation list of these devices' certificates, put in the place of an older one in one step."""
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._subject)
        builder = builder.last_update(now - DAY).next_update(now + 30 * DAY)
        for device in devices:
            serial = x509.load_pem_x509_certificates(device.read_bytes())[0].serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(entry)
        path = path or self.directory / "crl.pem"
        crl = builder.sign(self._key, hashes.SHA256())
        path.with_suffix(".new").write_bytes(crl.public_bytes(serialization.Encoding.PEM))
        path.with_suffix(".new").replace(path)
        return path

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        starts: datetime.timedelta,
        ends: datetime.timedelta,
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._subject).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now + starts).not_valid_after(now + ends)
        return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)

    def _issue(
        self,
        name: str,
        usage: x509.ObjectIdentifier,
        starts: datetime.timedelta,
        ends: datetime.timedelta,
        names: x509.SubjectAlternativeName | None = None,
        units: Sequence[str] = (),
    ) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name(name, units), key.public_key(), starts, ends)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(own, critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM), _private_pem(key)
