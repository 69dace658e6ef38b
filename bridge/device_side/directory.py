"""Directory: this gateway's devices for the admin side: what is known of them, and what is to become of them.

What is desired or commanded goes to Kafka, and comes back from there as if anybody else had written it: the bus is the
one source of truth. While there is no way to Kafka it is refused: kept for days, it would overtake what was said since.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from bridge import orders
from bridge.admin.devices import Change, Refused, Wish
from bridge.belief import Belief, Presence, believed
from bridge.config import Config
from bridge.device_side.clock import Clock
from bridge.device_side.command import FINAL
from bridge.device_side.commands import Commands
from bridge.device_side.desired import Desired, own_of, own_version
from bridge.device_side.devices import Devices
from bridge.device_side.documents import Document, depth, labels_of, labels_version_of, merge_patch
from bridge.device_side.outcomes import Outcomes
from bridge.device_side.supervisor import BusSide
from bridge.device_side.tallies import Key
from bridge.device_side.uplink import Uplink
from bridge.groups import LABELS, BadLabels, check_labels
from bridge.log.doorbell import Health
from bridge.log.errors import LogFull, RecordTooLarge
from bridge.log.record import CLOCK_SYNCHRONISED, REQUEST, TOMBSTONE, encode, encode_context
from bridge.row import Row, row_of

_UNDER_WAY_MAX = 1000
"""Desired states and labels that have not come back yet and are remembered: the next version counts on from there."""


class Directory:
    """See `bridge.admin.devices.Fleet`."""

    def __init__(
        self,
        config: Config,
        devices: Devices,
        outcomes: Outcomes | None,
        clock: Clock,
        *,
        kick: Callable[[], None],
        health: Callable[[], Health],
    ) -> None:
        """Args:
        config: names topics and bounds.
        devices: their documents.
        outcomes: of commands; None: none are taken here.
        clock: for records, and for leases.
        kick: called after appends.
        health: of the way to Kafka.
        """
        assert config.state is not None
        self._gateway = config.gateway.id
        self._has_kafka = config.kafka is not None
        self._bounds = config.state
        self._downlink = config.downlink
        self._devices = devices
        self._outcomes = outcomes
        self._clock = clock
        self._kick = kick
        self._health = health
        self._under_way: dict[str, tuple[int, dict[str, Any]]] = {}

    def names(self) -> list[str]:
        """See `Fleet`."""
        return self._devices.ids()

    def row(self, device: str) -> tuple[Row, Belief] | None:
        """See `Fleet`."""
        written = self._devices.written(device)
        if written is None:
            return None
        row = row_of(written)
        return row, self._belief(row.presence)

    def document(self, device: str) -> bytes | None:
        """See `Fleet`."""
        return self._devices.written(device)

    def watch(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """See `Fleet`."""
        self._devices.watchers.add(changed)
        return lambda: self._devices.watchers.discard(changed)

    async def desire(self, wish: Wish) -> dict[str, Any]:
        """See `Fleet`."""
        topic, device = self._downlink.desired_topic, wish.device
        if topic is None:
            raise Refused(501, "this gateway has no downlink.desired_topic: nothing can be desired of its devices")
        if wish.state is None:
            self._check_version(wish, self._present(device)[0])
            self._under_way.pop(device, None)
            await self._send(device, topic, None)
            taken = await self._until(device, lambda found: own_of(_desired(found)) is None, wish.wait_s)
            return {"device": device, "version": None, "outcome": "taken" if taken else "kept"}
        version, state = self._next(wish)
        await self._send_next(device, topic, self._encoded(version, state), (version, state))
        outcome = "kept"
        if await self._until(device, lambda found: own_version(_desired(found)) >= version, wish.wait_s):
            self._check_ours(device, version, state)
            outcome = "taken"
        return {"device": device, "version": version, "outcome": outcome}

    async def label(self, device: str, change: Change, wait_s: float) -> dict[str, Any]:
        """See `Fleet`."""
        topic, key = self._downlink.desired_topic, f"{LABELS}{device}"
        if topic is None:
            raise Refused(501, "this gateway has no downlink.desired_topic, by which labels would come")
        document = self._devices.get(device)
        if document is None:
            raise Refused(404, f"this gateway has no document of {device!r}, so it does not know how it is labelled")
        present, before = self._newest(key, (labels_version_of(document), dict(labels_of(document))))
        labels = change(before)
        try:
            check_labels(labels, self._downlink.labels_max)
        except BadLabels as error:
            raise Refused(400, str(error)) from error
        version = max(present, 0) + 1
        value = msgspec.json.encode({"labels": labels, "version": version})
        await self._send_next(key, topic, value, (version, labels))
        outcome = "kept"
        if await self._until(device, lambda found: found is not None and labels_version_of(found) >= version, wait_s):
            now = self._devices.get(device)
            if now is not None and (labels_version_of(now), labels_of(now)) != (version, labels):
                raise Refused(409, "somebody else has labelled it meanwhile: look what its labels are now")
            outcome = "taken"
        return {"device": device, "labels": labels, "labels_version": version, "outcome": outcome}

    async def command(self, device: str, order: bytes, wait_s: float) -> dict[str, Any]:
        """See `Fleet`."""
        topic = self._downlink.command_topic
        if topic is None or self._outcomes is None:
            raise Refused(501, "this gateway has no downlink.command_topic: its devices take no commands")
        if self._devices.get(device) is None and self._downlink.unknown_devices == "ignore":
            raise Refused(404, f"this gateway does not know {device!r}, so nobody here would say what became of it")
        sent, value = self._order(order)
        final: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def hear(key: Key, word: str, body: bytes) -> None:
            if key == (device, sent.id) and word in FINAL and not final.done():
                final.set_result(body)

        self._outcomes.watchers.add(hear)
        try:
            await self._send(device, topic, value)
            async with asyncio.timeout(wait_s):
                return {"device": device} | msgspec.json.decode(await final, type=dict[str, Any])
        except TimeoutError:
            return {"device": device, "id": sent.id, "outcome": "kept"}
        finally:
            self._outcomes.watchers.discard(hear)

    def _belief(self, presence: Presence | None) -> Belief:
        """Of its own devices this gateway knows; of others' it has the document, and not the gateway's lease."""
        now = self._clock.instant()
        if presence is None or presence.state != "online":
            return believed(presence, None, now)
        if presence.gateway == self._gateway:
            return Belief("online", presence.since, "this gateway holds its connection")
        if (presence.lease_until or "") >= now:
            return Belief("online", presence.since, f"gateway {presence.gateway} has said so just now")
        why = f"gateway {presence.gateway} said that it is online; whether its lease holds, the state topic says"
        return Belief("unknown", presence.lease_until or presence.since, why)

    def _present(self, device: str) -> tuple[int, dict[str, Any]]:
        """Version and state of its own record; 0: none. What is under way counts, until it has come back."""
        own = own_of(_desired(self._devices.get(device)))
        return self._newest(device, (own.version, own.state) if own is not None else (0, {}))

    def _newest(self, key: str, present: tuple[int, dict[str, Any]]) -> tuple[int, dict[str, Any]]:
        """What is there of a key of the desired topic, or on its way there."""
        under_way = self._under_way.get(key)
        if under_way is not None and under_way[0] > present[0]:
            return under_way
        self._under_way.pop(key, None)
        return present

    def _next(self, wish: Wish) -> tuple[int, dict[str, Any]]:
        """Version and state to be written. Raises Refused."""
        assert wish.state is not None
        present, state = self._present(wish.device)
        self._check_version(wish, present)
        version = wish.version if wish.version is not None else present + 1
        if version <= present:
            raise Refused(409, f"there is version {present}: {version} would be refused, and nothing was written")
        return version, merge_patch(state, wish.state) if wish.patch else wish.state

    def _check_version(self, wish: Wish, present: int) -> None:
        if wish.if_version is not None and wish.if_version != present:
            raise Refused(
                412, f"the present version is {present or 'none'}, not {wish.if_version}: nothing was written"
            )

    def _check_ours(self, device: str, version: int, state: dict[str, Any]) -> None:
        """Raises Refused: it is not what came back."""
        own = own_of(_desired(self._devices.get(device)))
        if own is not None and (own.version, own.state) != (version, state):
            raise Refused(409, f"somebody else has set version {own.version} meanwhile: look what is desired now")

    def _encoded(self, version: int, state: dict[str, Any]) -> bytes:
        value = msgspec.json.encode({"version": version, "state": state})
        if depth(state) > self._bounds.depth_max:
            raise Refused(400, f"it is nested deeper than {self._bounds.depth_max} levels (state.depth_max)")
        if len(value) > self._bounds.document_max_bytes:
            most = self._bounds.document_max_bytes
            raise Refused(413, f"it has {len(value)} bytes, more than {most} (state.document_max_bytes)")
        return value

    def _order(self, body: bytes) -> tuple[orders.Order, bytes]:
        """The command, with an id, and its value for Kafka. Raises Refused."""
        try:
            fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(400, f'the body is not an object like {{"name": "reboot"}}: {error}') from error
        if "id" not in fields:
            fields["id"] = msgspec.Raw(msgspec.json.encode(secrets.token_hex(8)))
        value = msgspec.json.encode(fields)
        order = orders.read(value, "", self._downlink.command_max_bytes)
        if order.fault:
            raise Refused(400, order.fault)
        return order, value

    async def _send_next(self, key: str, topic: str, value: bytes, meant: tuple[int, dict[str, Any]]) -> None:
        """As `_send`; who comes before it is durable goes on from what is meant."""
        before = self._under_way.get(key)
        self._under_way[key] = meant
        try:
            await self._send(key, topic, value)
        except Refused:
            del self._under_way[key]
            if before is not None:
                self._under_way[key] = before
            raise
        if len(self._under_way) > _UNDER_WAY_MAX:
            del self._under_way[next(iter(self._under_way))]

    async def _send(self, key: str, topic: str, value: bytes | None) -> None:
        """Returns when it is durable here, on its way to Kafka. Raises Refused."""
        if not self._has_kafka:
            raise Refused(501, "this gateway forwards to no Kafka, by which what is desired or commanded would come")
        health = self._health()
        if health.state != "connected":
            why = f": {health.detail}" if health.detail else ""
            raise Refused(503, f"there is no way to Kafka now ({health.state}{why}), so nothing was written; try again")
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        flags = (CLOCK_SYNCHRONISED if self._clock.synchronised() else 0) | (TOMBSTONE if value is None else 0)
        context = encode_context(key, "", topic)
        record = encode(REQUEST, flags, 0, self._clock.wall_ns(), self._clock.mono_ns(), context, b"", value or b"")
        try:
            self._devices.lane.append(record, lambda: None if durable.done() else durable.set_result(None))
        except LogFull:
            raise Refused(503, "the queue is full (lane of the device documents), nothing was written") from None
        except RecordTooLarge as error:
            raise Refused(413, str(error)) from None
        self._kick()
        await durable

    async def _until(self, device: str, holds: Callable[[Document | None], bool], wait_s: float) -> bool:
        """Whether it holds of the device's document, now or within the time."""
        rung = asyncio.Event()

        def tell(changed: str) -> None:
            if changed == device:
                rung.set()

        self._devices.watchers.add(tell)
        try:
            async with asyncio.timeout(wait_s):
                while not holds(self._devices.get(device)):
                    rung.clear()
                    await rung.wait()
        except TimeoutError:
            return holds(self._devices.get(device))
        finally:
            self._devices.watchers.discard(tell)
        return True


def _desired(document: Document | None) -> Desired | None:
    return document.desired if document is not None else None


def open_directory(
    config: Config, devices: Devices | None, commands: Commands | None, clock: Clock, uplink: Uplink, bus_side: BusSide
) -> Directory | None:
    """None: this gateway has no documents."""
    if devices is None:
        return None
    outcomes = commands.outcomes if commands is not None else None
    return Directory(config, devices, outcomes, clock, kick=uplink.kick_soon, health=lambda: bus_side.health)
