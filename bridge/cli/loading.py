"""The configuration file, for commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bridge.cli.failure import USAGE, Failure

if TYPE_CHECKING:
    from bridge.config import Config


def load_config(path: Path) -> Config:
    """Read it.

    Raises:
        Failure: all that is wrong with it, a line each.
    """
    from bridge.config_file import ConfigErrors, load

    try:
        return load(path)
    except ConfigErrors as errors:
        raise Failure("\n  ".join(["the configuration cannot be used:", *map(str, errors.errors)]), USAGE) from errors


def duration(text: str) -> float:
    """The seconds in an option like "30 s". Raises Failure."""
    from bridge.units import UnitError, parse_duration

    try:
        return parse_duration(text)
    except UnitError as error:
        raise Failure(f'{text!r}: {error}; like "30 s"', USAGE) from error
