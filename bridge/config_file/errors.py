"""What is wrong with a configuration file, for the person who wrote it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

KeyPath = tuple[str | int, ...]
"""The way to a value: table and key names, and indexes (from 0) into arrays."""


class Finding(msgspec.Struct, frozen=True):
    """Something wrong at one place, before file and line are known."""

    path: KeyPath
    problem: str
    allowed: str = ""
    needs: tuple[KeyPath, ...] = ()
    """Other places the judgement rests on; where one of them is itself wrong there is nothing to say yet."""


class ConfigError(msgspec.Struct, frozen=True):
    """One wrong value."""

    file: str
    line: int
    """From 1; 0 where it is about no line."""
    key: str
    """Dotted, arrays with their index from 0: `routes[1].seal`. Empty for the file as a whole."""
    problem: str
    allowed: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        where = f"{place}: {self.key}" if self.key else place
        return f"{where}: {self.problem}" + (f"; allowed: {self.allowed}" if self.allowed else "")


class ConfigErrors(Exception):
    """Every wrong value of one file, in the order of its lines."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        self.errors = sorted(errors, key=lambda error: error.line)
        super().__init__("\n".join(map(str, self.errors)))


def dotted(path: KeyPath) -> str:
    """Return the way to a value as people write it: `routes[1].seal`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{_key(part)}"
    return text.removeprefix(".")


def _key(name: str) -> str:
    bare = name.replace("-", "").replace("_", "")
    return name if bare.isalnum() and bare.isascii() else f'"{name}"'
