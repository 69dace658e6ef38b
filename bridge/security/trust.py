"""Trust: whether a device that got in by its certificate would still get in, judged without another handshake.

TLS has verified the certificate once (`tls`); what may have changed since is the CA file, the revocation list and the
time. It verifies no signature of a certificate: the chain was good, the question is what its ends are worth now.
"""

from __future__ import annotations

import functools
import hashlib
import math
import ssl
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bridge import config
from bridge.security.identity import (
    USUAL,
    IdentityError,
    Naming,
    common_names,
    device_in,
    read_certificate,
    units_named_in,
)

_ISSUERS = 64
"""CA certificates of which is remembered what they are: there are few, and every device brings them."""
_WAYS = 1024
"""Issuers of devices' certificates whose chains are remembered; more resume no sessions."""
_ENCODING_DER = 2
"""Of `_ssl.Certificate.public_bytes`, as X509_FILETYPE_ASN1; without it, it is PEM."""
_CRL_END = b"-----END X509 CRL-----"


class Link(msgspec.Struct, frozen=True, gc=False):
    """One certificate of a chain, as far as a later look needs it."""

    issuer: bytes
    """SHA-256 of the issuer's name (DER)."""
    serial: int
    holder: bytes
    """SHA-256 of the subject's name and public key (DER): a renewed CA certificate with the same key is the same. Empty
    of a device's own below a CA, which is never asked for."""


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
        self._anchors = _named(anchors)
        self._revoked: Mapping[bytes, frozenset[int]] = {}
        self._lists_end = math.inf
        if settings.crl is not None:
            lists = list(revocation_lists(settings.crl.read_bytes()))
            self._revoked = {
                _hash(crl.issuer.public_bytes()): frozenset(entry.serial_number for entry in crl) for crl in lists
            }
            ends = (crl.next_update_utc for crl in lists if crl.next_update_utc is not None)
            self._lists_end = min((end.timestamp() for end in ends), default=math.inf)
        self._resumes = settings.resumption
        self._ways: OrderedDict[bytes, tuple[Link, ...]] = OrderedDict()
        """The chain above each issuer of a device's certificate that TLS has verified, by the issuer."""

    def meet(self, sock: ssl.SSLSocket, naming: Naming, now_s: float) -> Peer:
        """Who is at the other end of a finished handshake (`peer_of`), a resumed one too.

        TLS looks at no certificate again when it resumes; so here it is judged as it would be in a full handshake:
        its end, the revocation list and its end, the CA. Tickets come from the same context and so from the same
        files; the chain above the certificate is the one by which TLS has let its issuer's devices in since. And TLS
        asks for the device's own revocation only; that of the CAs above it is asked for here.

        Raises:
            IdentityError: it would not be let in now, or names no device.
        """
        if sock.session_reused:
            own = read_certificate(sock.getpeercert(binary_form=True) or b"")
            way = self._ways.get(_issuer_of(own))
            if way is None:
                raise IdentityError("it resumes a session of which nothing is known; a full handshake is needed")
        else:
            own, way = _shown(sock)
            if self._resumes:
                self._remember(own, way)
        peer = _peer(own, way, naming)
        objection = "our CRL has expired" if self._lists_end <= now_s else self.objection(peer, now_s)
        if objection is not None:
            raise IdentityError(f"{objection}; it says it is {peer.device!r}")
        return peer

    @property
    def names(self) -> tuple[str, ...]:
        """Of the CAs that it trusts."""
        return tuple(self._anchors.values())

    def authority(self, peer: Peer) -> str | None:
        """The name of the CA by which `peer` is let in; None: it would not be."""
        return next((self._anchors[link.holder] for link in peer.chain if link.holder in self._anchors), None)

    def _remember(self, own: x509.Certificate, above: tuple[Link, ...]) -> None:
        issuer = _issuer_of(own)
        self._ways[issuer] = above
        self._ways.move_to_end(issuer)
        if len(self._ways) > _WAYS:
            self._ways.popitem(last=False)

    def objection(self, peer: Peer, now_s: float) -> str | None:
        """Why `peer` would not get in any more, in plain words; None: it would."""
        if any(link.serial in self._revoked.get(link.issuer, ()) for link in peer.chain):
            return "its certificate has been revoked"
        if self.authority(peer) is None:
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
    return _peer(*_shown(sock), naming)


def _shown(sock: ssl.SSLSocket) -> tuple[x509.Certificate, tuple[Link, ...]]:
    """The certificate of a handshake that was not resumed, and what stands above it."""
    own, *issuers = _verified_chain(sock)
    return read_certificate(own), tuple(map(_link_of_issuer, issuers))


def _peer(own: x509.Certificate, above: tuple[Link, ...], naming: Naming) -> Peer:
    device, ends = device_in(own, naming), own.not_valid_after_utc.timestamp()
    link = Link(_hash(own.issuer.public_bytes()), own.serial_number, b"" if above else _holder(own))
    return Peer(device, ends, (link, *above), units_named_in(own))


def _issuer_of(certificate: x509.Certificate) -> bytes:
    """A CA: its name and, where the certificate says it, which of its keys."""
    try:
        key = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.public_bytes()
    except (x509.ExtensionNotFound, ValueError):
        key = b""
    return _hash(certificate.issuer.public_bytes() + key)


def _verified_chain(sock: ssl.SSLSocket) -> Sequence[bytes]:
    """DER, the peer's own certificate first. Public from Python 3.13 on; before, only the object behind has it."""
    tell: Any = getattr(sock, "get_verified_chain", None) or sock._sslobj.get_verified_chain  # type: ignore[attr-defined]
    return [each if isinstance(each, bytes) else each.public_bytes(_ENCODING_DER) for each in tell()]


@functools.lru_cache(_ISSUERS)
def _link_of_issuer(der: bytes) -> Link:
    certificate = x509.load_der_x509_certificate(der)
    return Link(_hash(certificate.issuer.public_bytes()), certificate.serial_number, _holder(certificate))


def _named(certificates: Sequence[x509.Certificate]) -> dict[bytes, str]:
    """Common names, by holder; with the serial number where two would be the same."""
    names = {_holder(each): (*common_names(each), each.subject.rfc4514_string())[0] for each in certificates}
    often = Counter(names.values())
    serials = {_holder(each): each.serial_number for each in certificates}
    return {
        holder: name if often[name] == 1 else f"{name}, serial number {serials[holder]:X}"
        for holder, name in names.items()
    }


def _holder(certificate: x509.Certificate) -> bytes:
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _hash(certificate.subject.public_bytes() + key)


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
