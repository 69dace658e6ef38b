"""Failure: how a command ends badly — one plain sentence and an exit code, never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

FAILED, USAGE, FOUND = 1, 2, 3
"""Exit codes: it failed; wrong usage or configuration; it ran and found something wrong."""


class Failure(Exception):
    """What went wrong, where, and what to do, for stderr."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def plainly(*expected: type[Exception], code: int = FAILED) -> Iterator[None]:
    """Turn the errors that a command must expect, and the operating system's, into a Failure."""
    try:
        yield
    except expected as error:
        raise Failure(str(error), code) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Failure(f"{where}{error.strerror or error}") from error
