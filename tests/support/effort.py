"""How hard the tests try, and with which luck: see tests/README.md."""

from __future__ import annotations

import os
from typing import Final

EFFORT: Final = int(os.environ.get("BUSBRIDGE_EFFORT") or 1)
"""Rounds, kills, examples and seconds of chaos are multiplied by it."""


def seed(otherwise: int) -> int:
    """What the kills and outages of a test are drawn from."""
    return int(os.environ.get("BUSBRIDGE_SEED") or otherwise)
