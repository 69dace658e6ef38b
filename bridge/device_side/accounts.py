"""Accounts: the users and the signers of tokens that this gateway knows, as their files have them."""

from __future__ import annotations

from pathlib import Path

from bridge.config import Config
from bridge.security.tokens import KeysError, Tokens, read_keys
from bridge.security.users import Users, UsersError, read_users


class Accounts:
    """One for the daemon."""

    def __init__(self, config: Config) -> None:
        """Read the files that `[users]` and `[jwt]` name.

        Raises:
            UsersError, KeysError: one cannot be used.
        """
        self._users_file = config.users.file if config.users is not None else None
        self._keys_file = config.jwt.keys if config.jwt is not None else None
        self.users = Users(read_users(self._users_file)) if self._users_file is not None else None
        self.tokens = Tokens(config.jwt, read_keys(config.jwt.keys)) if config.jwt is not None else None

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that were read."""
        return tuple(file for file in (self._users_file, self._keys_file) if file is not None)

    def read_again(self) -> list[str]:
        """Take what the files say now, on any thread; returns what could not be used, where the old stays in force."""
        wrong = []
        try:
            if self.users is not None and self._users_file is not None:
                self.users.take(read_users(self._users_file))
        except UsersError as error:
            wrong.append(f"kept the old users: {error}")
        try:
            if self.tokens is not None and self._keys_file is not None:
                self.tokens.take(read_keys(self._keys_file))
        except KeysError as error:
            wrong.append(f"kept the old keys of tokens: {error}")
        return wrong
