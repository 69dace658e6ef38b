"""What the gateway says to an edge node: be born again (Sparkplug 3.0, chapter 5, "Commands")."""

from __future__ import annotations

from typing import Final

from bridge.sparkplug.datatype import DataType
from bridge.sparkplug.wire import Payload

REBIRTH: Final = "Node Control/Rebirth"
"""Metric of every node; it has no alias, so that who has missed the birth can use it, too
[tck-id-operational-behavior-data-commands-rebirth-name-aliases]."""


def rebirth(now_ms: int) -> bytes:
    """The payload of the NCMD that asks for a birth; `now_ms` since 1970."""
    payload = Payload(timestamp=now_ms)
    payload.metrics.add(name=REBIRTH, timestamp=now_ms, datatype=DataType.Boolean, boolean_value=True)
    return bytes(payload.SerializeToString())
