"""Numbers with units, as people write them: "8 GiB", "1.5 s". Knows nothing of TOML or of settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Final

SIZES: Final[Mapping[str, int]] = MappingProxyType(
    {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
)
"""Bytes in each unit of size, the largest first (IEC 80000-13)."""
DURATIONS: Final[Mapping[str, Decimal]] = MappingProxyType(
    {
        "d": Decimal(86_400),
        "h": Decimal(3_600),
        "min": Decimal(60),
        "s": Decimal(1),
        "ms": Decimal("0.001"),
        "us": Decimal("0.000001"),
    }
)
"""Seconds in each unit of time, the longest first."""
RATES: Final[Mapping[str, int]] = MappingProxyType({**SIZES, "MB": 1_000_000, "KB": 1_000})
"""Bytes in each unit of size that may stand before "/s": those who sell links count in thousands."""

_QUANTITY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]+)\s*", re.ASCII)


class UnitError(ValueError):
    """A text that is no number with a known unit."""


def parse_size(text: str) -> int:
    """Return the bytes in `text`: "16 MiB" is 16,777,216. Raises UnitError, also for a part of a byte."""
    number, unit = _quantity(text, SIZES)
    size = number * SIZES[unit]
    if size != int(size):
        raise UnitError("not a whole number of bytes")
    return int(size)


def parse_rate(text: str) -> int:
    """Return the bytes a second in `text`: "500 KB/s" is 500,000. Raises UnitError, also for a part of a byte."""
    size, slash, second = text.rpartition("/")
    if not slash or second.strip() != "s":
        raise UnitError("not a size a second")
    number, unit = _quantity(size, RATES)
    rate = number * RATES[unit]
    if rate != int(rate):
        raise UnitError("not a whole number of bytes a second")
    return int(rate)


def parse_duration(text: str) -> float:
    """Return the seconds in `text`: "250 ms" is 0.25. Raises UnitError."""
    number, unit = _quantity(text, DURATIONS)
    return float(number * DURATIONS[unit])


def format_size(size: int) -> str:
    """Return `size` bytes in the largest unit that needs no fraction, as `parse_size` reads it."""
    unit = next(name for name, scale in SIZES.items() if size % scale == 0 and (size or scale == 1))
    return f"{size // SIZES[unit]} {unit}"


def format_rate(rate: int) -> str:
    """Return `rate` bytes a second in the largest unit that needs no fraction, as `parse_rate` reads it."""
    units = sorted(RATES.items(), key=lambda unit: -unit[1])
    name, scale = next((name, scale) for name, scale in units if rate % scale == 0 and (rate or scale == 1))
    return f"{rate // scale} {name}/s"


def format_duration(seconds: float) -> str:
    """Return `seconds` in the longest unit that needs no fraction, as `parse_duration` reads it."""
    exact = Decimal(str(seconds))
    fitting = (name for name, scale in DURATIONS.items() if exact and exact % scale == 0)
    unit = next(fitting, "s")
    return f"{(exact / DURATIONS[unit]).normalize():f} {unit}"


def _quantity(text: str, units: Mapping[str, object]) -> tuple[Decimal, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError("not a number with a unit")
    if match[2] not in units:
        raise UnitError(f"{match[2]!r} is not a known unit")
    return Decimal(match[1]), match[2]
