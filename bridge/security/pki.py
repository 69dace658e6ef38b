"""Authority: a site's own device CA, and the certificates it makes (EC P-256, X.509 v3, RFC 5280).

It makes them in memory; which files they are in is the business of `ca_directory`.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bridge.security.identity import URI_PREFIX, check_device_id

CA_DAYS = 20 * 365
"""A CA outlives the devices in the field, since nobody can walk to all of them to change it."""
DEVICE_DAYS = 5 * 365
SERVER_DAYS = 825
"""The longest that common TLS clients take from a server."""
BACKDATE = timedelta(hours=1)
"""What a fresh certificate's beginning lies in the past, for devices whose clock is somewhat behind."""
COMMON_NAME_MAX_CHARS = 64
"""Of an X.520 common name (RFC 5280 appendix A, ub-common-name); a longer device id goes into a SAN URI."""
UNIT_MAX_CHARS = 64
"""Of an organizational unit (RFC 5280 appendix A, ub-organizational-unit-name)."""

_DNS_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\Z")


class Validity(NamedTuple):
    """From when to when a certificate holds; both with a time zone."""

    not_before: datetime
    not_after: datetime

    @classmethod
    def days(cls, days: float) -> Validity:
        """From now (less `BACKDATE`) for so many days."""
        now = datetime.now(UTC).replace(microsecond=0)
        return cls(now - BACKDATE, now + timedelta(days=days))


@dataclass(frozen=True)
class Credential:
    """A certificate, its private key, and the CA certificates above it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    issuers: tuple[x509.Certificate, ...] = ()

    def certificate_pem(self) -> bytes:
        """Return the certificate alone as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """Return the private key as unencrypted PKCS #8 PEM: write it with mode 0600."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def chain_pem(self) -> bytes:
        """Return the certificate and its issuers."""
        return pem(self.certificate, *self.issuers)

    def bundle_pem(self) -> bytes:
        """Return certificate, issuers and key in one text: the one file a device needs (its CA file, too)."""
        return self.chain_pem() + self.key_pem()


class Signed(NamedTuple):
    """A certificate whose key is elsewhere, and the CA certificates above it."""

    certificate: x509.Certificate
    issuers: tuple[x509.Certificate, ...]


class Authority:
    """A CA: its certificate, its key, and the CAs above it."""

    def __init__(self, credential: Credential) -> None:
        self.credential = credential
        self._identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(credential.key.public_key())

    @classmethod
    def create(cls, name: str, validity: Validity | None = None, *, above: int = 0) -> Authority:
        """Make a self-signed CA.

        Args:
            name: its common name, 64 characters at the most (else ValueError).
            validity: twenty years if left out.
            above: how many CAs may stand one below the other beneath it; 0: it signs devices and servers only.
        """
        key = _new_key()
        subject = _common_name(name)
        builder = _ca_builder(subject, subject, key, validity or Validity.days(CA_DAYS), above)
        return cls(Credential(builder.sign(key, hashes.SHA256()), key))

    def create_below(self, name: str, validity: Validity | None = None) -> Authority:
        """Make a CA whose certificate this one signs.

        Raises:
            ValueError: this CA may not sign CAs, or `name` is longer than 64 characters.
        """
        own = self.credential.certificate
        room = own.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        if room == 0:
            raise ValueError("this CA's certificate says that it signs no CAs (path length 0)")
        below = room - 1 if room is not None else 0
        key = _new_key()
        validity = self._within_own(validity or Validity.days(CA_DAYS))
        builder = _ca_builder(_common_name(name), own.subject, key, validity, below)
        builder = builder.add_extension(self._identifier, critical=False)
        return Authority(Credential(builder.sign(self.credential.key, hashes.SHA256()), key, self._chain))

    @classmethod
    def from_pem(cls, certificate: bytes, key: bytes) -> Authority:
        """Read a CA from its two PEM texts; behind its certificate may stand those of the CAs above it.

        Raises:
            ValueError: they cannot be read, do not belong together, or are not of a CA on an elliptic curve.
        """
        parsed, *issuers = x509.load_pem_x509_certificates(certificate)
        private = serialization.load_pem_private_key(key, None)
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != parsed.public_key():
            raise ValueError("the CA's key is not an EC key, or not the one of its certificate")
        if not parsed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise ValueError("the certificate is not a CA's")
        return cls(Credential(parsed, private, tuple(issuers)))

    def issue_device(self, device: str, validity: Validity | None = None, units: Sequence[str] = ()) -> Credential:
        """Make a device's certificate: client authentication only, the device id as its name.

        Args:
            device: the device id.
            validity: five years if left out.
            units: organizational units (OU) of its subject, which may be roles.

        Raises:
            IdentityError: `device` does not do as a device id.
            ValueError: as `check_units`.
        """
        key = _new_key()
        return Credential(self._device(device, key.public_key(), validity, units), key, self._chain)

    def sign_device(
        self, device: str, key: CertificatePublicKeyTypes, validity: Validity | None = None, units: Sequence[str] = ()
    ) -> Signed:
        """Make the certificate of a device that keeps its private key to itself.

        Raises:
            IdentityError, ValueError: as `issue_device`.
        """
        return Signed(self._device(device, key, validity, units), self._chain)

    def issue_server(self, name: str, hosts: Sequence[str] = (), validity: Validity | None = None) -> Credential:
        """Make the listener's certificate, for `hosts` (DNS names and IP addresses) or `default_hosts()`.

        Raises:
            ValueError: a host is neither, or `name` is longer than 64 characters.
        """
        alternatives = [_general_name(host) for host in hosts or default_hosts()]
        key = _new_key()
        held = validity or Validity.days(SERVER_DAYS)
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        return Credential(self._sign(_common_name(name), key.public_key(), usage, alternatives, held), key, self._chain)

    def crl(self, revoked: Iterable[x509.RevokedCertificate] = (), number: int = 1) -> bytes:
        """Return a signed revocation list as PEM.

        It says to be current for as long as the CA lives: OpenSSL refuses *every* certificate once a CRL is past its
        next update, and a site must not lose all its devices because nobody signed a new empty list.
        """
        validity = self._within_own(Validity.days(CA_DAYS))
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.credential.certificate.subject)
            .last_update(validity.not_before)
            .next_update(validity.not_after)
            .add_extension(self._identifier, critical=False)
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for entry in revoked:
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.credential.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    @property
    def _chain(self) -> tuple[x509.Certificate, ...]:
        """What stands above a certificate that this CA signs."""
        return (self.credential.certificate, *self.credential.issuers)

    def _device(
        self, device: str, key: CertificatePublicKeyTypes, validity: Validity | None, units: Sequence[str]
    ) -> x509.Certificate:
        check_device_id(device)
        held, usage = validity or Validity.days(DEVICE_DAYS), ExtendedKeyUsageOID.CLIENT_AUTH
        names = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in check_units(units)]
        if len(device) <= COMMON_NAME_MAX_CHARS:
            named = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, device)])
            return self._sign(named, key, usage, (), held)
        return self._sign(x509.Name(names), key, usage, (x509.UniformResourceIdentifier(URI_PREFIX + device),), held)

    def _sign(
        self,
        subject: x509.Name,
        key: CertificatePublicKeyTypes,
        usage: x509.ObjectIdentifier,
        alternatives: Sequence[x509.GeneralName],
        validity: Validity,
    ) -> x509.Certificate:
        builder = (
            _builder(subject, self.credential.certificate.subject, key, self._within_own(validity))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(self._identifier, critical=False)
        )
        if alternatives:  # without a subject they are the only name, and then critical (RFC 5280 §4.2.1.6)
            names = x509.SubjectAlternativeName(alternatives)
            builder = builder.add_extension(names, critical=not subject.rdns)
        return builder.sign(self.credential.key, hashes.SHA256())

    def _within_own(self, validity: Validity) -> Validity:
        """Cut `validity` to the CA's own end: what outlives its issuer only fails later and less plainly."""
        return validity._replace(not_after=min(validity.not_after, self.credential.certificate.not_valid_after_utc))


def default_hosts() -> tuple[str, ...]:
    """Return the names a gateway is reached by on itself and in its network: loopback and its host name."""
    return ("localhost", socket.gethostname(), "127.0.0.1", "::1")


def check_units(units: Sequence[str]) -> Sequence[str]:
    """Return organizational units that can stand in a certificate.

    Raises:
        ValueError: one is empty, longer than 64 characters, has characters that cannot be printed, or comes twice.
    """
    for unit in units:
        if not 0 < len(unit) <= UNIT_MAX_CHARS or not unit.isprintable():
            raise ValueError(f"the OU {unit!r} is not 1 to {UNIT_MAX_CHARS} characters that can be printed")
    if len(set(units)) != len(units):
        raise ValueError("an OU is named twice")
    return units


def pem(*certificates: x509.Certificate) -> bytes:
    """Return certificates as one PEM text."""
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def _ca_builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, validity: Validity, above: int
) -> x509.CertificateBuilder:
    return (
        _builder(subject, issuer, key.public_key(), validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=above), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: CertificatePublicKeyTypes, validity: Validity
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.not_before)
        .not_valid_after(validity.not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _DNS_NAME.match(host):
            message = f"{host!r} is neither an IP address nor a DNS name in ASCII (as xn--… if it has other letters)"
            raise ValueError(message) from None
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
