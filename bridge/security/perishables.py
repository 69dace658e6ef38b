"""Perishables: what of a listener's files ends one day: certificates, and the revocation list too, for with one that is
out of date OpenSSL lets nobody in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from bridge import config
from bridge.security.perishable import Perishable
from bridge.security.trust import revocation_lists


def perishables(settings: config.Tls) -> Iterator[Perishable]:
    """All of one listener: its certificate (with what it is chained to), the CAs it trusts, its revocation lists.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not what it should be.
    """
    authority = () if settings.client_ca is None else (settings.client_ca,)
    for path in dict.fromkeys((settings.certificate, *authority)):
        for certificate in x509.load_pem_x509_certificates(path.read_bytes()):
            name = certificate.subject.rfc4514_string() or f"serial number {certificate.serial_number:x}"
            ends, begins = certificate.not_valid_after_utc, certificate.not_valid_before_utc
            yield Perishable(str(path), f"certificate of {name}", ends.timestamp(), begins.timestamp())
    if settings.crl is not None:
        yield from _revocation_lists(settings.crl)


def _revocation_lists(path: Path) -> Iterator[Perishable]:
    for crl in revocation_lists(path.read_bytes()):
        if crl.next_update_utc is not None:
            what = f"revocation list of {crl.issuer.rfc4514_string()}"
            yield Perishable(str(path), what, crl.next_update_utc.timestamp(), crl.last_update_utc.timestamp())
