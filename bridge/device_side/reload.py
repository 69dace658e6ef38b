"""Reload: what can be read again while the daemon runs, on SIGHUP and when its files have been replaced.

Certificates, CA and revocation list of each listener, users and signers of tokens, the readers' public keys, `[acl]`
and the members of its roles, who the readers are. What cannot be used is named in the log, and what was in force stays
so. Nobody is touched whom the change does not concern.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from bridge import config_file
from bridge.config import Acl as AclRules
from bridge.config import Config, Route
from bridge.device_side.accounts import Accounts
from bridge.device_side.file_watch import FileWatch
from bridge.device_side.listener import CannotListen, ListeningPort
from bridge.device_side.sealers import Keys, Sealers, make_sealers, read_keys
from bridge.security.acl import Acl, Members
from bridge.security.keys import KeyFileError
from bridge.security.members import MembersError, read_members

_log = logging.getLogger(__name__)
LOOK_S = 0.25
"""Between two looks at the files: a device that is revoked is out within a second."""


class Concerned(Protocol):
    """Who has to act on what was read."""

    def review(self) -> None:
        """Ends the connections of devices that would not get in any more."""

    def narrow(self) -> None:
        """Takes back what was allowed to somebody and is not any more."""

    def seal_with(self, sealers: Sealers) -> None:
        """Seals with these from now on."""


class Reload:
    """One for the daemon."""

    def __init__(
        self,
        config: Config,
        path: Path,
        ports: Sequence[ListeningPort],
        accounts: Accounts,
        acl: Acl,
        members: Members,
        keys: Keys,
        concerned: Concerned,
    ) -> None:
        """Args:
        config: what is in force.
        path: the file it was read from.
        ports: whose certificates are read again.
        accounts: read again.
        acl: takes new rules in place.
        members: of its roles, as they are in force.
        keys: the recipients' public keys that are in force.
        concerned: is told what has changed.
        """
        self._config = config
        self._path = path
        self._ports = ports
        self._accounts = accounts
        self._acl = acl
        self._members = members
        self._readers = _readers(config, keys)
        self._concerned = concerned
        self._turn = asyncio.Lock()
        self._watch = FileWatch(self._files())

    async def watch(self) -> None:
        """Looks at the files, and reads them again when they are others. Runs until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._watch.changed(self._files()):
                _log.info("files have changed and are read again")
                await self.now()

    async def now(self) -> None:
        """Reads everything again."""
        async with self._turn:
            for port in self._ports:
                await self._certificates(port)
            for wrong in await asyncio.to_thread(self._accounts.read_again):
                _log.error("%s", wrong)
            self._concerned.review()
            await self._settings()
            await self._recipients()

    def _files(self) -> tuple[Path, ...]:
        keys = [recipient.public_key for recipient in self._config.recipients.values()]
        members = self._config.permissions.members_file if self._config.permissions is not None else None
        return (
            self._path,
            *keys,
            *self._accounts.files,
            *(() if members is None else (members,)),
            *(file for port in self._ports for file in port.files),
        )

    async def _certificates(self, port: ListeningPort) -> None:
        try:
            port.take(await asyncio.to_thread(port.read_again))
        except CannotListen as error:
            _log.error("kept the old certificates of %s: %s", port.address, error)
        else:
            _log.info("re-read the certificates of %s", port.address)

    async def _settings(self) -> None:
        try:
            read = await asyncio.to_thread(config_file.load, self._path)
        except config_file.ConfigErrors as errors:
            for error in errors.errors:
                _log.error("kept the old configuration: %s", error)
            return
        changes: dict[str, Any] = {}
        if await self._permissions(msgspec.structs.replace(self._config, acl=read.acl).permissions):
            changes["acl"] = read.acl
        if _but_recipients(read) == _but_recipients(self._config):
            changes |= {"routes": read.routes, "recipients": read.recipients}
        self._config = msgspec.structs.replace(self._config, **changes)
        if later := _changed(self._config, read):
            _log.warning("changed in %s, in force from the next start on: %s", self._path, ", ".join(sorted(later)))

    async def _permissions(self, wanted: AclRules | None) -> bool:
        """Puts other rules or role members into force. False: they cannot be used."""
        try:
            members = await asyncio.to_thread(read_members, wanted)
        except MembersError as error:
            _log.error("kept the old acl: %s", error)
            return False
        if (wanted, members) != (self._config.permissions, self._members):
            self._acl.replace(wanted, members)
            self._members = members
            _log.info("acl has changed and is in force")
            self._concerned.narrow()
        return True

    async def _recipients(self) -> None:
        try:
            keys = await asyncio.to_thread(read_keys, self._config)
        except KeyFileError as error:
            _log.error("kept the old public keys: %s", error)
            return
        readers = _readers(self._config, keys)
        if readers != self._readers:
            self._readers = readers
            self._concerned.seal_with(make_sealers(self._config, keys))
            _log.info("recipients have changed; payloads are sealed for the new ones")


def _readers(config: Config, keys: Keys) -> dict[str, Keys]:
    """By the filter of each route."""
    return {route.filter: {name: keys[name] for name in route.recipients} for route in config.routes}


def _but_recipients(config: Config) -> list[Route]:
    return [msgspec.structs.replace(route, recipients=()) for route in config.routes]


def _changed(old: Config, new: Config) -> set[str]:
    """Sections that differ."""
    one, other = msgspec.structs.asdict(old), msgspec.structs.asdict(new)
    return {name for name in one if one[name] != other[name]}
