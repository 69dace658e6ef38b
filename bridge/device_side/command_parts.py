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
from bridge.device_side.group_commands import GroupCommands
from bridge.device_side.outcomes import Outcomes
from bridge.device_side.tallies import Tallies
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
) -> tuple[Commands | None, GroupCommands | None]:
    """None: no command topic is configured. For the arguments see `Commands` and `Outcomes`."""
    settings = config.downlink
    if settings.command_topic is None or devices is None:
        return None, None
    tallies = Tallies(cold, log_id)
    outcomes = Outcomes(settings, devices.lane, cold, clock, tallies, log_id=log_id, kick=kick)
    commands = Commands(
        settings, outcomes, broker, cold, acl, clock, now=loop.time, soon=loop.call_soon,
        knows=lambda device: devices.is_here(device) or bool(broker.sessions_of(device)),
    )  # fmt: skip
    groups = GroupCommands(
        settings, commands, outcomes, tallies, broker, cold, devices=devices.ids, has_member=devices.has_member,
        soon=loop.call_soon,
    )  # fmt: skip
    return commands, groups
