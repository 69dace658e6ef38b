"""The parts that only a gateway with device documents has, wired."""

from __future__ import annotations

import asyncio

from bridge.config import Config, Kafka
from bridge.device_side.broker import Broker
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore
from bridge.device_side.devices import Devices
from bridge.device_side.group_states import GroupStates
from bridge.device_side.regrouping import Regrouping
from bridge.device_side.uplink import Uplink
from bridge.message import Message


def open_devices(
    config: Config, uplink: Uplink, broker: Broker, cold: ColdStore, clock: Clock, log_id: bytes, epoch: int
) -> Devices | None:
    """None: there is no `[state]`. For the arguments see `Devices`."""
    state = config.state
    if state is None:
        return None
    devices = Devices(
        state,
        uplink.lanes[state.lane],
        cold,
        clock,
        log_id=log_id,
        gateway=config.gateway.id,
        epoch=epoch,
        kick=uplink.kick_soon,
        retain=lambda topic, body: broker.pass_on(Message(topic, body, qos=1, retain=True)),
        groups=GroupStates(cold, config.downlink.groups_max),
        roaming=state.roaming and config.kafka is not None,
        former=config.gateway.renamed_from,
        event_topic=(config.kafka or Kafka(())).event_topic,
    )
    broker.retained.elsewhere = devices.retained_on
    return devices


def open_regrouping(
    config: Config, devices: Devices | None, cold: ColdStore, loop: asyncio.AbstractEventLoop
) -> Regrouping | None:
    """None: there are no documents."""
    if devices is None:
        return None
    return Regrouping(
        devices,
        soon=loop.call_soon,
        when_stored=lambda done: cold.after_commit(lambda: loop.call_soon_threadsafe(done)),
        at_once=config.downlink.group_slice,
    )
