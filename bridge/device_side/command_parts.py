"""The parts that only a gateway with a command topic has, wired."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.config import Config
from bridge.device_side.broker import Broker
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore
from bridge.device_side.commands import Commands
from bridge.device_side.devices import Devices
from bridge.device_side.outcomes import Outcomes
from bridge.security.acl import Acl


def open_commands(
    config: Config,
    devices: Devices | None,
    broker: Broker,
    cold: ColdStore,
    acl: Acl,
    clock: Clock,
    loop: asyncio.AbstractEventLoop,
    *,
    log_id: bytes,
    kick: Callable[[], None],
) -> Commands | None:
    """None: no command topic is configured. For the arguments see `Commands` and `Outcomes`."""
    settings = config.downlink
    if settings.command_topic is None or devices is None:
        return None
    outcomes = Outcomes(settings, devices.lane, cold, clock, log_id=log_id, kick=kick)

    def knows(device: str) -> bool:
        presence = document.presence if (document := devices.get(device)) is not None else None
        here = presence is not None and presence.gateway == config.gateway.id
        return here or bool(broker.sessions_of(device))

    return Commands(
        settings, outcomes, broker, cold, acl, clock, knows=knows, now=loop.time, soon=loop.call_soon
    )  # fmt: skip
