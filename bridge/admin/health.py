"""Health: what a status amounts to. Pure; the numbers that decide stand in the configuration.

`ready` is about the devices: whether what they publish is taken in now. A Kafka that is away does not make a gateway
unready, for taking in meanwhile is what it is for; it is a concern.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from bridge.admin.status import Status

_LEFT = 1 / 4
"""Of its life: less than with which what is renewed in time is renewed, whether by this daemon (a third) or others."""
_DAY_S = 86_400.0
_WELL = frozenset({"connected", "starting"})


class Verdict(msgspec.Struct):
    """What is the matter, in plain words."""

    ready: bool
    problems: tuple[str, ...]
    """Why devices are not served now."""
    concerns: tuple[str, ...]
    """What works, but not as it should, or not for long."""


def judge(status: Status, expiry_warning_s: float) -> Verdict:
    """Say how a gateway is.

    Args:
        status: as it is now.
        expiry_warning_s: how long before its end a certificate becomes a concern, seconds.
    """
    problems = tuple(_problems(status))
    return Verdict(not problems, problems, tuple(_concerns(status, expiry_warning_s)))


def _problems(status: Status) -> Iterator[str]:
    if status.stopping:
        yield "the gateway is stopping"
    for name, lane in status.lanes.items():
        if lane.full:
            yield f"lane {name} is full, so devices wait: {lane.shortage or 'its bound is reached'}"
    for each in status.perishables:
        if each.ends <= status.now:
            yield f"{each.file}: the {each.what} has expired ({_at(each.ends)})"


def _concerns(status: Status, expiry_warning_s: float) -> Iterator[str]:
    bus = status.bus_side
    if bus is not None:
        if bus.pid is None:
            yield "the bus side is not running; it is started again"
        elif bus.health.state not in _WELL:
            detail = f": {bus.health.detail}" if bus.health.detail else ""
            yield f"the way to Kafka is {bus.health.state} since {_at(bus.health.since)}{detail}"
    for name, lane in status.lanes.items():
        if lane.shortage is not None and not lane.full:
            yield f"lane {name} cannot grow: {lane.shortage}"
    for each in status.perishables:
        left_s = each.ends - status.now
        if 0 < left_s <= min(expiry_warning_s, _LEFT * (each.ends - each.begins)):
            yield f"{each.file}: the {each.what} expires in {left_s / _DAY_S:.1f} days"


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
