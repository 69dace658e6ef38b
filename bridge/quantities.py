"""The kinds of numbers and texts that settings are: how many, how large, how long, how fast, where."""

from __future__ import annotations

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1)]
"""How many of something: at least one."""
Percent = Annotated[int, msgspec.Meta(ge=1, le=100)]
Size = Annotated[int, "size", msgspec.Meta(ge=1)]
"""A number of bytes; in the file a number with a unit: B, KiB, MiB, GiB, TiB."""
Duration = Annotated[float, "duration"]
"""A number of seconds; in the file a number with a unit: us, ms, s, min, h, d."""
Rate = Annotated[int, "rate", msgspec.Meta(ge=1)]
"""A number of bytes a second; in the file a number with a unit: B/s, KB/s, KiB/s, MB/s, MiB/s, …"""
Timeout = Annotated[float, "duration", msgspec.Meta(gt=0)]
"""A Duration that something is given; never none."""
Address = Annotated[str, "address"]
"""HOST:PORT; an IPv6 host stands in brackets."""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
