"""Where the engine and the broker are broken to try the marks, and which statements of MQTT 5 that breaks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_LIST = Path(__file__).with_name("mutants.txt")


class Mutant(NamedTuple):
    """One change of the source."""

    path: str
    statements: tuple[str, ...]
    old: str
    """Whole lines, there once."""
    new: str


def mutants() -> list[Mutant]:
    """Those of `mutants.txt`: a file and the statements that break in it, then the change as a diff shows it."""
    found = []
    for block in _LIST.read_text().split("\n\n"):
        head, *lines = block.splitlines()
        path, _, numbers = head.partition(": ")
        old, new = ("".join(line[1:] + "\n" for line in lines if line[0] == sign) for sign in "-+")
        found.append(Mutant(path, tuple(numbers.split()), old, new))
    return found
