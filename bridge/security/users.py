"""The users file: who comes with a password instead of a certificate, `NAME:HASH` a line; a NAME is a device id.

Hashes are Argon2id in the PHC string format (RFC 9106). To verify one takes milliseconds and memory, on purpose: never
on the event loop.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from bridge.credentials import PublicSecret, refuse_if_public
from bridge.durable import replace_file
from bridge.security.identity import IdentityError, check_device_id

_ITERATIONS, _LANES, _MEMORY_KIB = 2, 1, 19 * 1024
"""The least that OWASP's Password Storage Cheat Sheet names: a fleet comes back at once after a power cut."""
_SALT_BYTES, _HASH_BYTES = 16, 32
_PHC = re.compile(
    r"\$argon2id\$v=19\$m=(?P<memory>[0-9]{1,7}),t=[0-9]{1,2},p=[0-9]{1,2}\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}"
)
_MEMORY_MAX_KIB = 256 * 1024
NO_USERS: Final[Mapping[str, str]] = MappingProxyType({})


class UsersError(Exception):
    """The users file cannot be used; says which, the line and why, never a hash."""


class Users:
    """Verifies passwords by one users file. The file's content is replaced as a whole, from any thread."""

    def __init__(self, hashes: Mapping[str, str] = NO_USERS) -> None:
        self._hashes = hashes
        self._nobodys = hashed(os.urandom(_SALT_BYTES))

    def take(self, hashes: Mapping[str, str]) -> None:
        """From now on these users."""
        self._hashes = hashes

    def hash_of(self, name: str) -> str | None:
        """As it stands in the file; None: there is no such user."""
        return self._hashes.get(name)

    def verified(self, name: str, password: bytes) -> str | None:
        """The user's hash, if the password is right, else None. Takes as long for a user that there is not."""
        phc = self._hashes.get(name)
        try:
            Argon2id.verify_phc_encoded(password, phc or self._nobodys)
        except InvalidKey:
            return None
        return phc


def hashed(password: bytes) -> str:
    """Return a new hash of the password, as the file has it."""
    function = Argon2id(
        salt=os.urandom(_SALT_BYTES), length=_HASH_BYTES, iterations=_ITERATIONS, lanes=_LANES, memory_cost=_MEMORY_KIB
    )
    return function.derive_phc_encoded(password)


def read_users(path: Path) -> dict[str, str]:
    """Return hashes by name. Empty lines and such that begin with # are left out.

    Raises:
        UsersError: it cannot be read, everybody may read it, or a line is not NAME:HASH.
    """
    try:
        refuse_if_public(path)
        text = path.read_text(encoding="utf-8")
    except PublicSecret as error:
        raise UsersError(str(error)) from error
    except OSError as error:
        raise UsersError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsersError(f"{path}: is not UTF-8 at byte {error.start}") from None
    users: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            name, phc = _user(line.strip(), f"{path}:{number}")
            if name in users:
                raise UsersError(f"{path}:{number}: {name} is there already")
            users[name] = phc
    return users


def put_user(path: Path, name: str, phc: str) -> bool:
    """Give the user this hash in the file, which is made if it is not there, whole or not at all. True: he was in it.

    Raises:
        UsersError: as `read_users`.
        OSError: it cannot be written.
    """
    there = path.exists()
    known = there and name in read_users(path)
    lines = path.read_text(encoding="utf-8").splitlines() if there else []
    kept = [line for line in lines if line.strip().rpartition(":")[0] != name]
    text = "".join(f"{line}\n" for line in [*kept, f"{name}:{phc}"])
    replace_file(path, text.encode(), 0o600, like=path.stat() if there else None)  # (the service reads it by its group)
    return known


def _user(line: str, place: str) -> tuple[str, str]:
    name, _, phc = line.rpartition(":")  # (a name may have colons in it)
    try:
        check_device_id(name)
    except IdentityError as error:
        raise UsersError(f"{place}: {error}") from error
    shape = _PHC.fullmatch(phc)
    if shape is None:
        raise UsersError(f"{place}: {name} has no Argon2id hash behind the colon; `busbridge users add` makes one")
    if int(shape["memory"]) > _MEMORY_MAX_KIB:
        raise UsersError(f"{place}: to verify the password of {name} would take over {_MEMORY_MAX_KIB // 1024} MiB")
    return name, phc
