"""Token: what a request over TCP has to bring to see or change devices (RFC 6750), from a file that may be replaced."""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from bridge.credentials import SecretError, secret, secret_path

_log = logging.getLogger(__name__)
LENGTH_MIN = 32
"""Characters: `openssl rand -hex 32` gives 64. So nobody can guess it, however often he tries."""


class Token:
    """Of one file, read again whenever it has changed."""

    def __init__(self, path: Path, environ: Mapping[str, str] = os.environ) -> None:
        """`environ` names systemd's credentials directory. Raises SecretError: it cannot be used."""
        self._path = path
        self._environ = environ
        self._seen: object = self._look()
        self._value = read_token(path, environ)

    def lets_in(self, authorization: str) -> bool:
        """Whether the header `Authorization` has it."""
        seen = self._look()
        if seen != self._seen:
            self._seen, self._value = seen, ""
            try:
                self._value = read_token(self._path, self._environ)
            except SecretError as error:
                _log.error("admin.token_file: nobody is let in by it: %s", error)
        scheme, _, given = authorization.partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self._value.encode())
        return scheme.lower() == "bearer" and bool(self._value) and same

    def _look(self) -> object:
        try:
            found = secret_path(self._path, self._environ).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode


def read_token(path: Path, environ: Mapping[str, str]) -> str:
    """Return it. Raises SecretError: it cannot be read, others may read it, or it is too short."""
    value = secret(path, environ)
    if len(value) < LENGTH_MIN:
        raise SecretError(f"the token in {path} has less than {LENGTH_MIN} characters (openssl rand -hex 32 makes one)")
    return value
