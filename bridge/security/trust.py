"""Trust: whether a device that got in by its certificate would still get in, judged without another handshake.

TLS has verified the certificate once (`tls`); what may have changed since is the CA file, the revocation list and the
time. It verifies no signature of a certificate: the chain was good, the question is what its ends are worth now.
"""

from __future__ import annotations

import functools
import hashlib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bridge import config
from bridge.security.identity import USUAL, Naming, device_from_certificate, units_named_in

_ISSUERS = 64
"""CA certificates of which is remembered what they are: there are few, and every device brings them."""
_CRL_END = b"-----END X509 CRL-----"


class Link(msgspec.Struct, frozen=True, gc=False):
    """One certificate of a chain, as far as a later look needs it."""

    issuer: bytes
    """SHA-256 of the issuer's name (DER)."""
    serial: int
    holder: bytes
    """SHA-256 of the subject's name and public key (DER): a renewed CA certificate with the same key is the same."""


class Peer(msgspec.Struct, frozen=True):
    """Who is at the other end, and by which chain it got in."""

    device: str
    ends: float
    """When its certificate does, seconds since the epoch."""
    chain: tuple[Link, ...]
    """Its own certificate first, the trusted CA's last."""
    units: tuple[str, ...] = ()
    """The organizational units that its certificate names."""


class Trust:
    """What one listener's `client_ca` and `crl` say now."""

    def __init__(self, settings: config.Tls) -> None:
        """Read the files.

        Raises:
            OSError: one cannot be read.
            ValueError: one is not what it should be.
        """
        pem = settings.client_ca.read_bytes() if settings.client_ca is not None else b""
        anchors = x509.load_pem_x509_certificates(pem) if pem else []
        self._anchors = frozenset(_holder(each) for each in anchors)
        self._revoked: Mapping[bytes, frozenset[int]] = {}
        if settings.crl is not None:
            self._revoked = {
                _hash(crl.issuer.public_bytes()): frozenset(entry.serial_number for entry in crl)
                for crl in revocation_lists(settings.crl.read_bytes())
            }

    def objection(self, peer: Peer, now_s: float) -> str | None:
        """Why `peer` would not get in any more, in plain words; None: it would."""
        if any(link.serial in self._revoked.get(link.issuer, ()) for link in peer.chain):
            return "its certificate has been revoked"
        if not any(link.holder in self._anchors for link in peer.chain):
            return "its certificate is from a CA that is not ours any more"
        if peer.ends <= now_s:
            return f"its certificate has expired ({datetime.fromtimestamp(peer.ends, UTC):%Y-%m-%dT%H:%M:%SZ})"
        return None


def revocation_lists(pem: bytes) -> Iterator[x509.CertificateRevocationList]:
    """Every list in a PEM text: there may be one for each CA of a chain.

    Raises:
        ValueError: one of them cannot be read.
    """
    for part in pem.split(_CRL_END)[:-1]:
        yield x509.load_pem_x509_crl(part + _CRL_END + b"\n")


def peer_of(sock: ssl.SSLSocket, naming: Naming = USUAL) -> Peer:
    """Who is at the other end of a finished handshake; `naming`: what of its certificate says so.

    Raises:
        IdentityError: its certificate names no device that this gateway takes.
    """
    own, *issuers = _verified_chain(sock)
    device = device_from_certificate(own, naming)
    certificate = x509.load_der_x509_certificate(own)
    chain = (_link(own), *map(_link_of_issuer, issuers))
    return Peer(device, certificate.not_valid_after_utc.timestamp(), chain, units_named_in(certificate))


def _verified_chain(sock: ssl.SSLSocket) -> Sequence[bytes]:
    """DER, the peer's own certificate first. Public from Python 3.13 on; before, only the object behind has it."""
    tell: Any = getattr(sock, "get_verified_chain", None) or sock._sslobj.get_verified_chain  # type: ignore[attr-defined]
    chain = tell()
    return [each if isinstance(each, bytes) else ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in chain]


@functools.lru_cache(_ISSUERS)
def _link_of_issuer(der: bytes) -> Link:
    return _link(der)


def _link(der: bytes) -> Link:
    certificate = x509.load_der_x509_certificate(der)
    return Link(_hash(certificate.issuer.public_bytes()), certificate.serial_number, _holder(certificate))


def _holder(certificate: x509.Certificate) -> bytes:
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _hash(certificate.subject.public_bytes() + key)


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
