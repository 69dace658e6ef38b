"""Revocations: a CA's revocation list in a file, added to and replaced in one step."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cryptography import x509

from bridge.durable import replace_file
from bridge.security.pki import Authority

Reason = Literal["unspecified", "keyCompromise", "superseded", "cessationOfOperation", "affiliationChanged"]
"""Why (RFC 5280 §5.3.1), as OpenSSL writes it."""


class RevocationError(Exception):
    """The file is not this CA's revocation list; the message names it."""


class Revocations:
    """One list: `serials` as it is now, `add` for more."""

    def __init__(self, path: Path) -> None:
        """Read the file; one that is not there is an empty list.

        Raises:
            RevocationError: it is something else.
        """
        self._path = path
        self._list: x509.CertificateRevocationList | None = None
        try:
            self._list = x509.load_pem_x509_crl(path.read_bytes())
        except FileNotFoundError:
            pass
        except ValueError as error:
            raise RevocationError(f"{path} is not a revocation list: {error}") from error

    @property
    def serials(self) -> frozenset[int]:
        """Of the certificates in it."""
        return frozenset(entry.serial_number for entry in self._list or ())

    def add(self, authority: Authority, serials: Iterable[int], reason: Reason) -> None:
        """Write the list with these certificates in it too, signed by `authority`, numbered one higher.

        Raises:
            OSError: the directory cannot be written; the old list stays.
        """
        now = datetime.now(UTC).replace(microsecond=0)
        entries = [*(self._list or ())]
        known = self.serials
        for serial in serials:
            if serial not in known:
                builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
                if reason != "unspecified":  # RFC 5280 §5.3.1: absent rather than unspecified
                    builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags(reason)), critical=False)
                entries.append(builder.build())
        replace_file(self._path, authority.crl(entries, self._number + 1), 0o644)
        self._list = x509.load_pem_x509_crl(self._path.read_bytes())

    @property
    def _number(self) -> int:
        if self._list is None:
            return 0
        try:
            return self._list.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        except x509.ExtensionNotFound:
            return 0
