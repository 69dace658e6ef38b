"""What the daemon wires around commands: a real lane, a real cold store, a real broker, and a clock a test can set."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge import orders
from bridge.config import Acl as AclRules
from bridge.config import Downlink
from bridge.device_side.clock import Clock, rfc3339
from bridge.device_side.cold import ColdStore
from bridge.device_side.command import FINAL
from bridge.device_side.commands import Commands
from bridge.device_side.devices import POSITION_KEY
from bridge.device_side.group_commands import GroupCommands
from bridge.device_side.outcomes import Outcomes
from bridge.device_side.tallies import Tallies
from bridge.device_side.uplink import Lane, Token, Uplink
from bridge.groups import is_member
from bridge.log.errors import LogFull
from bridge.log.reader import LogReader, oldest_position
from bridge.log.record import OUTCOME, RELEASE, Record, decode_context, encode, encode_context
from bridge.log.settings import LogSettings
from bridge.mqtt.subscription import Subscription
from bridge.security.acl import Acl
from tests.unit.device_side.conftest import unexpected
from tests.unit.device_side.local import Local, Peer
from tests.unit.log.lane import LOG_ID

KIB, NS = 1 << 10, 1_000_000_000
DEVICE = "dev-1"
START_NS = 1_800_000_000 * NS


class SetClock(Clock):
    """Says what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = START_NS
        self.right = True
        self.wall_ns = lambda: self.now_ns

    def synchronised(self) -> bool:
        return self.right


class World:
    """A gateway's commands in a directory; a second one in the same directory is the next start."""

    def __init__(self, directory: Path, clock: SetClock | None = None, **settings: Any) -> None:
        self.directory = directory / "state"
        self.clock = clock or SetClock()
        self.cold = ColdStore(directory / "cold.sqlite", unexpected)
        self.local = Local(self.cold)
        self.uplink = Uplink(self.local.loop, self._committed)
        self.lane = self.uplink.open_lane(
            "state", self.directory, LogSettings(max_bytes=1024 * KIB, segment_bytes=256 * KIB), log_id=LOG_ID,
            clock=self.clock, pending_max=1 << 30, on_failure=lambda failure: pytest.fail(str(failure)),
        )  # fmt: skip
        self.downlink = Downlink(command_topic="device-commands", **settings)
        tallies = Tallies(self.cold, LOG_ID)
        outcomes = Outcomes(
            self.downlink, self.lane, self.cold, self.clock, tallies, log_id=LOG_ID, kick=self.uplink.kick_soon
        )  # fmt: skip
        self.known = {DEVICE}
        self.commands = Commands(
            self.downlink, outcomes, self.local.broker, self.cold, Acl(AclRules()), self.clock,
            knows=self.known.__contains__, now=lambda: self.local.now, soon=self.local.loop.call_soon,
        )  # fmt: skip
        self.groups = GroupCommands(
            self.downlink, self.commands, outcomes, tallies, self.local.broker, self.cold,
            devices=lambda: list(self.known), soon=self.local.loop.call_soon,
            has_member=lambda group, device: is_member(self.labels.get(device, {}), group),
        )  # fmt: skip
        self.labels: dict[str, dict[str, str]] = {}
        """Of devices that are known; others have none."""
        self.local.broker.restore({})
        _, _, position = (self.cold.get("meta", POSITION_KEY) or b":1").decode().partition(":")
        self.commands.restore(self._records(int(position)))
        self.groups.restore()
        self.taken: list[str] = []
        """Orders that are durable, by id."""

    def take(self, value: object, device: str = DEVICE) -> None:
        """A Kafka record's value."""
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        order = orders.read(body, "0:7", self.downlink.command_max_bytes)
        self.commands.take(device, orders.decode(orders.encode(order)), lambda: self.taken.append(order.id))

    def take_group(self, group: str, value: object) -> None:
        """A Kafka record's value, with a group's key."""
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        order = orders.read(body, "0:9", self.downlink.command_max_bytes)
        self.groups.take(group, orders.decode(orders.encode(order)), lambda: self.taken.append(order.id))

    def order(self, name: str, **fields: object) -> None:
        """An order with this id."""
        self.take({"id": name, "name": "reboot"} | fields)

    def device(
        self,
        qos: int = 1,
        version: int = 5,
        *,
        expiry_s: int = 0,
        clean: bool = True,
        client_id: str = DEVICE,
        **connect: Any,
    ) -> Peer:
        """Comes, subscribes, and has what was waiting."""
        peer = self.local.connect(client_id, version, clean=clean, expiry_s=expiry_s, device=DEVICE, **connect)
        if not peer.connack.session_present:  # type: ignore[union-attr]
            peer.subscribe(Subscription(f"devices/{DEVICE}/commands/#", qos))
            if expiry_s:
                self.local.broker.keep(peer.client, lambda: None)
            peer.answers()
        self.commands.send(DEVICE)
        self.turn()
        return peer

    def answer(self, name: str, value: object) -> bool:
        """The device's result."""
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        return self.commands.result(DEVICE, name, body, lambda: None, packet_id=0, effect=None)

    def later(self, seconds: float) -> None:
        """Time goes by, on all clocks."""
        self.clock.now_ns += int(seconds * NS)
        self.local.now += seconds
        self.commands.look()
        self.groups.look()
        self.turn()

    def deadline(self, seconds: float) -> str:
        """So far ahead of now."""
        return rfc3339(self.clock.now_ns + int(seconds * NS))

    def turn(self) -> None:
        """What the loop would do at once; nothing of the disk."""
        for _ in range(3):  # what is called soon may call something soon
            self.local.loop.run_until_complete(asyncio.sleep(0))

    def settle(self) -> None:
        """Until everything is on disk and whoever waits for it knows."""
        for _ in range(3):
            self.turn()
            self.lane.writer.kick()
            while self.lane.writer.pending_bytes:
                self.local.loop.run_until_complete(asyncio.sleep(0.001))
            self.local.loop.run_until_complete(asyncio.sleep(0.002))
            self.local.broker.keep_messages()
            self.local.settle()

    def settle_once(self) -> None:
        """As `settle`, but what follows from that is not begun."""
        self.turn()
        self.local.broker.keep_messages()
        self.local.settle()
        self.lane.writer.kick()
        while self.lane.writer.pending_bytes:
            self.local.loop.run_until_complete(asyncio.sleep(0.001))

    def said(self) -> list[tuple[str, dict[str, object]]]:
        """Key and value of each outcome record that is durable."""
        return [
            (decode_context(record.context)[0], msgspec.json.decode(record.payload))
            for record in self._records(1)
            if record.kind == OUTCOME
        ]

    def outcomes(self) -> list[tuple[str, str]]:
        """Id (empty: none) and outcome of each record, in order."""
        return [(each["id"] or "", each["outcome"]) for each in self.values()]

    def values(self) -> list[dict[str, object]]:
        """Of the outcome records that are durable."""
        return [msgspec.json.decode(record.payload) for record in self._records(1) if record.kind == OUTCOME]

    def finals(self) -> list[str]:
        """Ids with a final outcome, one for each."""
        return [name for name, word in self.outcomes() if word in FINAL]

    def fill(self) -> None:
        """The lane has no room for anything more, however small."""
        self.settle()
        for size in (8000, 0):
            filler = encode(RELEASE, 0, 0, 0, 0, encode_context("filler", ""), b"", b" " * size)
            while not (self.lane.writer.full and self.lane.writer.shortage):
                self._append(filler)
            before = -1
            while before < self.lane.writer.next_seq:
                before = self.lane.writer.next_seq
                self._append(filler)

    def make_room(self) -> None:
        """What is in the lane has been forwarded."""
        self.lane.writer.forwarded(self.lane.writer.committed)
        while self.lane.blocked:
            self.local.loop.run_until_complete(asyncio.sleep(0.001))

    def _append(self, record: bytes) -> None:
        with contextlib.suppress(LogFull):
            self.lane.append(record, None, None)
        self.lane.writer.kick()
        while self.lane.writer.pending_bytes:
            self.local.loop.run_until_complete(asyncio.sleep(0.001))

    def end(self, *, crash: bool = False) -> None:
        """A crash: what the log has and the store has not heard of stays so."""
        if not crash:
            self.settle()
        self.uplink.close()
        self.cold.close()
        self.local.close()

    def _records(self, position: int) -> list[Record]:
        reader = LogReader(self.directory, LOG_ID, max(position, oldest_position(self.directory)))
        return reader.read(self.lane.writer.committed, 100_000, 1 << 30)

    def _committed(self, lane: Lane, tokens: list[Token]) -> None:
        for token in tokens:
            if callable(token):
                token()
