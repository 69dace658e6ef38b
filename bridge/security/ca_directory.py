"""CaDirectory: a CA on disk, and the index of what it has issued.

`ca.pem ca.key crl.pem server.pem server.key` and `issued.jsonl`, a JSON object a line for each certificate. Keys are
mode 0600 from their first byte on. Nothing that exists is ever overwritten.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from cryptography import x509

from bridge.security.identity import check_device_id
from bridge.security.pki import Authority, Credential, Validity

CA, CA_KEY, CRL, INDEX = "ca.pem", "ca.key", "crl.pem", "issued.jsonl"
SERVER, SERVER_KEY = "server.pem", "server.key"
_PRIVATE, _PUBLIC = 0o600, 0o644

State = Literal["valid", "expired", "revoked"]


class CaError(Exception):
    """The directory is not a CA's, is one already, or has a file where one would be written; the message says which."""


class Issued(msgspec.Struct, frozen=True):
    """One line of the index."""

    id: str
    use: Literal["device", "server"]
    serial: str
    """In hexadecimal, as openssl prints it."""
    issued: datetime
    not_after: datetime

    def state(self, revoked: frozenset[str], now: datetime) -> State:
        """Say what it is worth at `now`, given the revoked serials."""
        if self.serial in revoked:
            return "revoked"
        return "expired" if self.not_after <= now else "valid"


class CaDirectory:
    """A site's CA in a directory."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.directory = directory
        self.authority = authority

    @classmethod
    def create(cls, directory: Path, name: str, hosts: Sequence[str] = ()) -> CaDirectory:
        """Make a CA called `name`, its empty revocation list, and the gateway's server certificate for `hosts`.

        Raises:
            CaError: one of the files exists.
            ValueError: `name` is longer than 64 characters or a host is no host name.
            OSError: the directory cannot be written.
        """
        _refuse_existing(directory / file for file in (CA, CA_KEY, CRL, INDEX, SERVER, SERVER_KEY))
        authority = Authority.create(name)
        server = authority.issue_server("busbridge", hosts)
        directory.mkdir(parents=True, exist_ok=True)
        made = cls(directory, authority)
        _write(directory / CA_KEY, _PRIVATE, authority.credential.key_pem())
        _write(directory / SERVER_KEY, _PRIVATE, server.key_pem())
        _write(directory / CA, _PUBLIC, authority.credential.certificate_pem())
        _write(directory / SERVER, _PUBLIC, server.certificate_pem())
        _write(directory / CRL, _PUBLIC, authority.crl())
        made._record([_entry("busbridge", "server", server)])
        return made

    @classmethod
    def load(cls, directory: Path) -> CaDirectory:
        """Read the CA. Raises CaError."""
        try:
            authority = Authority.from_pem((directory / CA).read_bytes(), (directory / CA_KEY).read_bytes())
        except OSError as error:
            raise CaError(f"there is no CA in {directory}: {error.filename}: {error.strerror}") from error
        except (ValueError, TypeError, x509.ExtensionNotFound) as error:
            raise CaError(f"the CA in {directory} cannot be used: {error}") from error
        return cls(directory, authority)

    def issue(
        self,
        devices: Sequence[str],
        out: Path,
        validity: Validity | None = None,
        progress: Callable[[str], None] = lambda device: None,
    ) -> list[Path]:
        """Write `out/ID.pem` (certificate, CA and key, mode 0600) for each device; `progress(device)` after each.

        All names and files are checked before the first is made; the index has an entry for each file that was.

        Raises:
            CaError: a file exists, or a device is named twice.
            IdentityError: a name does not do as a device id.
            OSError: the disk refuses.
        """
        paths = [out / f"{check_device_id(device)}.pem" for device in devices]
        if len(set(paths)) != len(paths):
            raise CaError("a device is named twice")
        _refuse_existing(paths)
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        for device, path in zip(devices, paths, strict=True):
            credential = self.authority.issue_device(device, validity)
            # The index first: a certificate that nobody has is harmless, one that cannot be revoked by name is not.
            self._record([_entry(device, "device", credential)])
            _write(path, _PRIVATE, credential.bundle_pem())
            progress(device)
        return paths

    def issued(self) -> list[Issued]:
        """Return the index, oldest first. Raises CaError where a line cannot be read."""
        try:
            lines = (self.directory / INDEX).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        try:
            return [msgspec.json.decode(line, type=Issued) for line in lines]
        except msgspec.DecodeError as error:
            raise CaError(f"{self.directory / INDEX} is damaged: {error}") from error

    def revoked(self) -> frozenset[str]:
        """Return the serials in the revocation list, in hexadecimal. Raises CaError."""
        try:
            crl = x509.load_pem_x509_crl((self.directory / CRL).read_bytes())
        except FileNotFoundError:
            return frozenset()
        except ValueError as error:
            raise CaError(f"{self.directory / CRL} is not a revocation list: {error}") from error
        return frozenset(_hex(entry.serial_number) for entry in crl)

    def _record(self, entries: Iterable[Issued]) -> None:
        text = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
        with (self.directory / INDEX).open("ab") as file:
            file.write(text)


def _entry(name: str, use: Literal["device", "server"], credential: Credential) -> Issued:
    certificate = credential.certificate
    return Issued(name, use, _hex(certificate.serial_number), datetime.now(UTC), certificate.not_valid_after_utc)


def _hex(serial: int) -> str:
    text = f"{serial:X}"
    return text.zfill(len(text) + len(text) % 2)


def _refuse_existing(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists():
            raise CaError(f"{path} exists and is not overwritten")


def _write(path: Path, mode: int, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
