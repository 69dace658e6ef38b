"""The doorman: who somebody without a certificate is, by password or token. It is found out beside the event loop.

To verify a password takes tens of milliseconds, on purpose, so that is done by a few threads; a CONNECT waits for it,
and its connection is not read meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from bridge.config import Limits, Listener
from bridge.device_side.accounts import Accounts
from bridge.device_side.connection import Connection
from bridge.mqtt.events import ConnectRequested
from bridge.mqtt.reasons import Reason
from bridge.security.tokens import TokenRefused, Tokens
from bridge.security.users import Users

_log = logging.getLogger(__name__)
_NAME_MAX_CHARS = 140
"""Of a user name in the log."""
_TOKEN_DOTS = 2
_TOKEN_BEGINS = b"eyJ"
"""The base64url of `{"`, as every token's header begins (RFC 7515 §7.1)."""


class Proof(Protocol):
    """What showed who somebody is."""

    @property
    def device(self) -> str:
        """The device id."""

    def objection(self, now_s: float) -> str | None:
        """Why it would not do now (seconds since the epoch), in plain words; None: it would."""


class Refusal(msgspec.Struct, frozen=True):
    """Why somebody is turned away."""

    reason: Reason
    why: str


class _Password:
    """A user name with the right password."""

    def __init__(self, users: Users, device: str, phc: str) -> None:
        self._users, self.device, self._phc = users, device, phc

    def objection(self, now_s: float) -> str | None:
        """See `Proof`."""
        return None if self._users.hash_of(self.device) == self._phc else "its user is gone or has another password"


class _Token:
    """A token that was good."""

    def __init__(self, tokens: Tokens, device: str, ends: float, key: str) -> None:
        self._tokens, self.device, self._ends, self._key = tokens, device, ends, key

    def objection(self, now_s: float) -> str | None:
        """See `Proof`."""
        if not self._tokens.knows(self._key):
            return "its token was signed with a key that is not in force any more"
        return "its token has expired" if self._ends <= now_s else None


class Doorman:
    """One for the daemon."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        accounts: Accounts,
        limits: Limits,
        now_s: Callable[[], float],
    ) -> None:
        """Args:
        loop: the process's event loop.
        accounts: who may come with a password, and whose tokens count.
        limits: how many are looked at at once, and may wait.
        now_s: seconds since the epoch.
        """
        self._loop = loop
        self._accounts = accounts
        self._limits = limits
        self._now_s = now_s
        self._pool = ThreadPoolExecutor(limits.password_threads, thread_name_prefix="password")
        self._found: dict[Connection, Proof | Refusal | None] = {}

    def waits(self, connection: Connection) -> bool:
        """Whether it is still being found out who that is; the doorman resumes it then."""
        return connection in self._found and self._found[connection] is None

    def ask(self, connection: Connection, event: ConnectRequested, listener: Listener) -> Proof | Refusal | None:
        """Who it is, or why he is turned away; None: not known yet, the connection is resumed when it is."""
        if connection in self._found:
            found = self._found[connection]
            if found is not None:
                del self._found[connection]
            return found
        verify = self._way(event, listener)
        if isinstance(verify, Refusal):
            return verify
        if len(self._found) >= self._limits.passwords_waiting:
            return Refusal(Reason.SERVER_BUSY, "too many passwords wait to be verified (limits.passwords_waiting)")
        self._found[connection] = None
        self._pool.submit(self._find, connection, verify)
        return None

    def forget(self, connection: Connection) -> None:
        """It has ended."""
        self._found.pop(connection, None)

    def close(self) -> None:
        """Nobody is waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _way(self, event: ConnectRequested, listener: Listener) -> Callable[[], Proof | Refusal] | Refusal:
        methods, name, password = listener.authentication, event.username, event.password
        if password is None:
            return Refusal(Reason.NOT_AUTHORIZED, f"it shows none of: {', '.join(methods)}")
        tokens, users = self._accounts.tokens, self._accounts.users
        if tokens is not None and "jwt" in methods and ("password" not in methods or _is_like_a_token(password)):
            return lambda: _by_token(tokens, password, self._now_s())
        if users is not None and "password" in methods and name:
            return lambda: _by_password(users, name, password)
        return Refusal(Reason.NOT_AUTHORIZED, f"it shows none of: {', '.join(methods)}")

    def _find(self, connection: Connection, verify: Callable[[], Proof | Refusal]) -> None:
        """On a thread of the pool."""
        if connection not in self._found:
            return  # it did not wait so long
        found: Proof | Refusal
        try:
            found = verify()
        except Exception:
            _log.exception("peer=%s: a mistake in the gateway", connection.peer)
            found = Refusal(Reason.SERVER_UNAVAILABLE, "its password or token could not be verified")
        self._loop.call_soon_threadsafe(self._tell, connection, found)

    def _tell(self, connection: Connection, found: Proof | Refusal) -> None:
        if connection in self._found:
            self._found[connection] = found
            connection.resume()


def _is_like_a_token(password: bytes) -> bool:
    return password.startswith(_TOKEN_BEGINS) and password.count(b".") == _TOKEN_DOTS


def _by_password(users: Users, name: str, password: bytes) -> Proof | Refusal:
    phc = users.verified(name, password)
    if phc is None:
        return Refusal(
            Reason.BAD_USER_NAME_OR_PASSWORD, f"there is no user {name[:_NAME_MAX_CHARS]!r}, or the password is wrong"
        )
    return _Password(users, name, phc)


def _by_token(tokens: Tokens, token: bytes, now_s: float) -> Proof | Refusal:
    try:
        bearer = tokens.bearer(token, now_s)
    except TokenRefused as error:
        return Refusal(Reason.BAD_USER_NAME_OR_PASSWORD, str(error))
    return _Token(tokens, bearer.device, bearer.ends, bearer.key)
