"""CaDirectory: a CA on disk, and the index of what it has issued.

`ca.pem ca.key crl.pem server.pem server.key` and `issued.jsonl`, a JSON object a line for each certificate; below a CA
of the company's also `client-ca.pem`, its certificate without those above it. Keys are mode 0600 from their first byte
on. Only the revocation list is ever replaced, and by `renew` what it renews.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec
from cryptography import x509

from bridge.durable import replace_file
from bridge.security.identity import check_device_id
from bridge.security.pki import Authority, Validity, check_units, pem
from bridge.security.request import Request
from bridge.security.revocations import Reason, RevocationError, Revocations

CA, CA_KEY, CRL, INDEX = "ca.pem", "ca.key", "crl.pem", "issued.jsonl"
CLIENT_CA = "client-ca.pem"
SERVER, SERVER_KEY = "server.pem", "server.key"
_PRIVATE, _PUBLIC = 0o600, 0o644

SERVER_NAME = "busbridge"
Use = Literal["device", "server", "ca"]
State = Literal["valid", "expired", "revoked"]


class CaError(Exception):
    """The directory is not a CA's, is one already, or has a file where one would be written; the message says which."""


class Issued(msgspec.Struct, frozen=True):
    """One line of the index."""

    id: str
    use: Use
    serial: str
    """In hexadecimal, as openssl prints it."""
    issued: datetime
    not_after: datetime
    units: tuple[str, ...] = ()
    """The organizational units (OU) in it."""

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
    def create(
        cls, directory: Path, name: str, hosts: Sequence[str] = (), *, above: CaDirectory | None = None
    ) -> CaDirectory:
        """Make a CA called `name`, its empty revocation list, and the gateway's server certificate for `hosts`.

        `above` is the CA that signs it; None: it signs itself.

        Raises:
            CaError: one of the files exists.
            ValueError: `name` is longer than 64 characters, a host is no host name, or `above` signs no CAs.
            OSError: the directory cannot be written.
        """
        _refuse_existing(directory / file for file in (CA, CA_KEY, CLIENT_CA, CRL, INDEX, SERVER, SERVER_KEY))
        authority = Authority.create(name) if above is None else above.authority.create_below(name)
        server = authority.issue_server(SERVER_NAME, hosts)
        made = cls._write_new(directory, authority)
        if above is not None:
            above._record([_entry(name, "ca", authority.credential.certificate)])
            _write(directory / CLIENT_CA, _PUBLIC, authority.credential.certificate_pem())
        made._record([_entry(SERVER_NAME, "server", server.certificate)])
        _write(directory / SERVER_KEY, _PRIVATE, server.key_pem())
        _write(directory / SERVER, _PUBLIC, server.chain_pem() if above is not None else server.certificate_pem())
        return made

    @classmethod
    def create_root(cls, directory: Path, name: str) -> CaDirectory:
        """Make a CA that signs other CAs, and its empty revocation list.

        Raises:
            CaError, ValueError, OSError: as `create`.
        """
        _refuse_existing(directory / file for file in (CA, CA_KEY, CRL, INDEX))
        return cls._write_new(directory, Authority.create(name, above=1))

    @classmethod
    def _write_new(cls, directory: Path, authority: Authority) -> CaDirectory:
        directory.mkdir(parents=True, exist_ok=True)
        _write(directory / CA_KEY, _PRIVATE, authority.credential.key_pem())
        _write(directory / CA, _PUBLIC, authority.credential.chain_pem())
        _write(directory / CRL, _PUBLIC, authority.crl())
        return cls(directory, authority)

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
        units: Sequence[str] = (),
    ) -> list[Path]:
        """Write `out/ID.pem` (certificate, CA and key, mode 0600) for each device; `progress(device)` after each.

        All names and files are checked before the first is made; the index has an entry for each file that was.

        Raises:
            CaError: a file exists, or a device is named twice.
            IdentityError: a name does not do as a device id.
            ValueError: one of `units`, which all of them get, does not do as an OU.
            OSError: the disk refuses.
        """
        check_units(units)
        paths = _paths(out, [check_device_id(device) for device in devices])
        _refuse_existing(paths)
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        for device, path in zip(devices, paths, strict=True):
            credential = self.authority.issue_device(device, validity, units)
            # The index first: a certificate that nobody has is harmless, one that cannot be revoked by name is not.
            self._record([_entry(device, "device", credential.certificate, units)])
            _write(path, _PRIVATE, credential.bundle_pem())
            progress(device)
        return paths

    def sign(
        self, requests: Sequence[Request], out: Path, validity: Validity | None = None, *, renewing: bool = False
    ) -> list[Path]:
        """Write `out/ID.pem` (certificate and CA, no key) for each request; `renewing`: in the place of an older one.

        The organizational units that stand in a request are granted: leave out of it what is not to be.

        Raises:
            CaError: a file exists (unless `renewing`), or a device is named twice.
            ValueError: one of its units does not do as an OU.
            OSError: the disk refuses.
        """
        for request in requests:
            check_units(request.units)
        paths = _paths(out, [request.device for request in requests])
        if not renewing:
            _refuse_existing(paths)
        out.mkdir(parents=True, exist_ok=True)
        for request, path in zip(requests, paths, strict=True):
            signed = self.authority.sign_device(request.device, request.key, validity, request.units)
            self._record([_entry(request.device, "device", signed.certificate, request.units)])
            replace_file(path, pem(signed.certificate, *signed.issuers), _PUBLIC)
        return paths

    def revoke(self, names: Collection[str], reason: Reason = "unspecified") -> list[Issued]:
        """Put on the revocation list every valid certificate of these names (or serial numbers, in hexadecimal).

        Raises:
            CaError: none is valid that is called so; then nothing is revoked.
            OSError: the list cannot be written.
        """
        revoked, now = self.revoked(), datetime.now(UTC)
        valid = [entry for entry in self.issued() if entry.state(revoked, now) == "valid"]
        found = [entry for entry in valid if entry.id in names or entry.serial in names]
        missing = [name for name in names if not any(name in (entry.id, entry.serial) for entry in found)]
        if missing:
            raise CaError(f"there is no valid certificate of {', '.join(missing)}; see `busbridge certs list`")
        self._revocations().add(self.authority, (int(entry.serial, 16) for entry in found), reason)
        return found

    def renew(
        self,
        devices: Sequence[str],
        out: Path,
        validity: Validity | None = None,
        progress: Callable[[str], None] = lambda device: None,
        units: Sequence[str] | None = None,
    ) -> list[Path]:
        """Replace `out/ID.pem` of each device: new certificate, new key. The old one stays good until it ends.

        The organizational units are those of its last certificate, unless `units` says others.

        Raises:
            CaError: the CA has never issued a certificate to one of them.
            IdentityError: a name does not do as a device id.
            ValueError: one of `units` does not do as an OU.
            OSError: the disk refuses.
        """
        check_units(units or ())
        known = self.units()
        for device in devices:
            if check_device_id(device) not in known:
                raise CaError(f"{device} has no certificate of this CA to renew; `busbridge certs issue` makes one")
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        for device in devices:
            granted = known[device] if units is None else units
            credential = self.authority.issue_device(device, validity, granted)
            self._record([_entry(device, "device", credential.certificate, granted)])
            replace_file(out / f"{device}.pem", credential.bundle_pem(), _PRIVATE)
            progress(device)
        return [out / f"{device}.pem" for device in devices]

    def units(self) -> dict[str, tuple[str, ...]]:
        """Return the organizational units of each device's last certificate. Raises CaError."""
        return {entry.id: entry.units for entry in self.issued() if entry.use == "device"}

    def ending_within(self, days: float) -> list[str]:
        """Return the devices whose last valid certificate ends within so many days. Raises CaError."""
        now, revoked = datetime.now(UTC), self.revoked()
        last: dict[str, datetime] = {}
        for entry in self.issued():
            if entry.use == "device" and entry.state(revoked, now) == "valid":
                last[entry.id] = max(entry.not_after, last.get(entry.id, entry.not_after))
        return [device for device, ends in last.items() if ends <= now + timedelta(days=days)]

    def renew_server(self, certificate: Path, key: Path, validity: Validity | None = None) -> x509.Certificate:
        """Replace a server certificate by a new one for the same hosts, with a new key. Returns it.

        Raises:
            CaError: what is there is no certificate, or names no hosts.
            OSError: it cannot be read or replaced.
        """
        try:
            old, *chain = x509.load_pem_x509_certificates(certificate.read_bytes())
            hosts = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, x509.ExtensionNotFound) as error:
            raise CaError(f"{certificate} is no server certificate to renew: {error}") from error
        new = self.authority.issue_server(SERVER_NAME, [str(host.value) for host in hosts], validity)
        self._record([_entry(SERVER_NAME, "server", new.certificate)])
        replace_file(key, new.key_pem(), stat.S_IMODE(key.stat().st_mode))
        replace_file(certificate, new.chain_pem() if chain else new.certificate_pem(), _PUBLIC)
        return new.certificate

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
        return frozenset(map(_hex, self._revocations().serials))

    def _revocations(self) -> Revocations:
        try:
            return Revocations(self.directory / CRL)
        except RevocationError as error:
            raise CaError(str(error)) from error

    def _record(self, entries: Iterable[Issued]) -> None:
        text = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
        with (self.directory / INDEX).open("ab") as file:
            file.write(text)


def _entry(name: str, use: Use, certificate: x509.Certificate, units: Sequence[str] = ()) -> Issued:
    serial, ends = _hex(certificate.serial_number), certificate.not_valid_after_utc
    return Issued(name, use, serial, datetime.now(UTC), ends, tuple(units))


def _hex(serial: int) -> str:
    text = f"{serial:X}"
    return text.zfill(len(text) + len(text) % 2)


def _paths(out: Path, devices: Sequence[str]) -> list[Path]:
    """Where each device's certificate goes. Raises CaError."""
    paths = [out / f"{device}.pem" for device in devices]
    if len(set(paths)) != len(paths):
        raise CaError("a device is named twice")
    return paths


def _refuse_existing(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists():
            raise CaError(f"{path} exists and is not overwritten")


def _write(path: Path, mode: int, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
