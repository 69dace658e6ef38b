"""What the daemon that runs on a queue says of its way to Kafka."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bridge.cli.failure import Failure


class _Health(msgspec.Struct):
    state: str
    detail: str = ""


class _BusSide(msgspec.Struct):
    health: _Health


class _Status(msgspec.Struct):
    bus_side: _BusSide | None = None


class _Answer(msgspec.Struct):
    """Of what the daemon answers, as much as is needed here."""

    status: _Status


def way_to_kafka(directory: Path) -> str | None:
    """State and detail, in the daemon's words; None: it cannot be asked, or forwards nothing."""
    from bridge.cli.local import ask

    try:
        bus_side = msgspec.json.decode(ask("/status", None, directory), type=_Answer).status.bus_side
    except (Failure, msgspec.DecodeError):
        return None
    if bus_side is None:
        return None
    health = bus_side.health
    return f"{health.state}: {health.detail}" if health.detail else health.state
