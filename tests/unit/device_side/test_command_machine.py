"""The life of commands while everything happens in any order, and the power goes between any two steps.

The oracle is what docs/kafka-records.md promises: one final outcome each, said after nothing else and never before it
is on disk; nothing is given to a device after its deadline, after its final outcome, or twice at QoS 2; serial ones are
alone; and nothing is stuck.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from bridge import orders
from bridge.config import Acl as AclRules
from bridge.config import Downlink, Mqtt
from bridge.device_side.clock import rfc3339
from bridge.device_side.command import FINAL
from bridge.device_side.commands import Commands
from bridge.device_side.devices import POSITION_KEY
from bridge.device_side.outcomes import Outcomes
from bridge.device_side.tallies import Tallies, row_of_key
from bridge.log.errors import LogFull
from bridge.log.record import OUTCOME, Record, decode_context
from bridge.message import Message
from bridge.mqtt.subscription import Subscription
from bridge.orders import Order
from bridge.security.acl import Acl
from tests.support.effort import EFFORT
from tests.unit.device_side.clocks import RIGHT_S, HandClock
from tests.unit.device_side.command_device import CommandDevice
from tests.unit.device_side.command_disk import Disk, MemoryLane, MemoryStore
from tests.unit.device_side.disk_rules import FEW, SOME, DiskRules
from tests.unit.device_side.local import Local

DEVICE = "dev-1"
LOG_ID = bytes(16)
FILTER, ELSE = f"devices/{DEVICE}/commands/+", f"devices/{DEVICE}/else"
SETTINGS = Downlink(command_topic="device-commands", commands_under_way=2, command_deadline=100_000.0)
MQTT = Mqtt(inflight_max=1, queue_max_messages=2)
IDS = [f"c{number}" for number in range(4)]
LONG_S = 200_000
EXAMPLES = 100 * EFFORT


class Gateway:
    """One life of the device side, as far as commands go."""

    def __init__(self, disk: Disk, clock: HandClock, appended: Callable[[Record], None]) -> None:
        self.store = MemoryStore(disk)
        self.local = Local(self.store, MQTT, clock=clock)
        self.local.now = clock.mono
        self.lane = MemoryLane(disk, appended)
        tallies = Tallies(self.store, LOG_ID)
        outcomes = Outcomes(SETTINGS, self.lane, self.store, clock, tallies, log_id=LOG_ID, kick=lambda: None)
        self.commands = Commands(
            SETTINGS, outcomes, self.local.broker, self.store, Acl(AclRules()), clock,
            knows=lambda device: True, now=lambda: self.local.now, soon=self.local.loop.call_soon,
        )  # fmt: skip
        self.local.broker.restore({})
        _, _, position = (self.store.get("meta", POSITION_KEY) or b":1").decode().partition(":")
        self.commands.restore(self.lane.tail(int(position)))


class Life(DiskRules):
    """Rules: what can happen. The device takes at once what is sent to it; what it answers goes when a rule says so."""

    @initialize(version=st.sampled_from([4, 5]), qos=st.sampled_from([2, 1, 2, 0]), kept=st.booleans())
    def start(self, version: int, qos: int, kept: bool) -> None:
        self.version, self.qos, self.kept = version, qos, kept
        self.disk = Disk()
        self.clock = HandClock()
        self.true_s = RIGHT_S
        self.device = CommandDevice(self._given)
        self.kafka: list[Order] = []
        self.position = self.saved = 0
        """In `kafka`: what is durable here, and what the cursor's file says of that."""
        self.said: dict[str, list[str]] = {}
        """Of each command, in the present life or on disk."""
        self.deadlines: dict[str, float] = {}
        self.once: Counter[tuple[str, int]] = Counter()
        """Given at QoS 2, by id and session."""
        self._begin()

    def _begin(self) -> None:
        self.position = self.taken = self.saved
        self.done: set[int] = set()
        self.said = {}
        for record in self.disk.log:
            self._appended(record, old=True)
        self.gateway = Gateway(self.disk, self.clock, self._appended)
        self.device.gone()
        self._pump()

    # What is watched.

    def _appended(self, record: Record, *, old: bool = False) -> None:
        if record.kind != OUTCOME:
            return
        _, name, _ = decode_context(record.context)
        word = msgspec.json.decode(record.payload)["outcome"]
        before = self.said.setdefault(name, [])
        assert not FINAL & set(before), f"{name}: {word} after {before}"
        assert word not in before, f"{name}: {word} again"
        before.append(word)
        if word == "expired" and not old:
            assert self.clock.right, "a clock that is not set judges nothing"
            assert self.true_s >= self.deadlines.get(name, 0), f"{name} has expired too early"

    def _given(self, name: str, message: Message) -> None:
        assert not FINAL & set(self._durable(name)), f"{name} is given to the device after {self._durable(name)}"
        assert message.dup or "delivered" not in self._durable(name), f"{name} is given again"
        if name in self.deadlines:
            assert self.true_s < self.deadlines[name], f"{name} is late"
            assert self.clock.right or message.dup, f"{name} is sent by a clock that is not set"
        if message.qos == 2:
            self.once[name, self.device.session] += 1
            assert self.once[name, self.device.session] == 1, f"{name} comes twice"
        for other in self._serial_before(name):
            assert FINAL & set(self.said.get(other, ())), f"{name} is given while {other} is not over"

    def _durable(self, name: str) -> list[str]:
        records = [record for record in self.disk.log if decode_context(record.context)[1] == name]
        return [msgspec.json.decode(record.payload)["outcome"] for record in records]

    def _serial_before(self, name: str) -> list[str]:
        """The commands that have to be over before this one is given."""
        first = list(dict.fromkeys(order.id for order in self.kafka[: self.taken] if not order.cancel))
        own = next(order for order in self.kafka if order.id == name and not order.cancel)
        before = first[: first.index(name)]
        if own.concurrency == "serial":
            return before
        kinds = {order.id: order.concurrency for order in reversed(self.kafka) if not order.cancel}
        return [other for other in before if kinds[other] == "serial"]

    def _secured(self, number: int) -> bool:
        """Whether a restart from what is on disk knows what became of the order."""
        order = self.kafka[number]
        final = bool(FINAL & set(self._durable(order.key)))
        if order.cancel:
            return final or order.id not in {each.id for each in self.kafka[:number] if not each.cancel}
        return final or row_of_key((DEVICE, order.id)) in self.disk.tables.get("commands", {})

    @invariant()
    def whats_given_up_is_on_disk(self) -> None:
        """The position in the downlink log, from which a restart goes on, never leads."""
        for number in range(self.saved, self.position):
            assert self._secured(number), self.kafka[number]

    # From Kafka.

    def _take(self, number: int, done: Callable[[], None]) -> None:
        self.gateway.commands.take(DEVICE, self.kafka[number], done)

    def _turn(self) -> None:
        """And what the device hears of it."""
        super()._turn()
        self.device.listen()

    def _write(self, fields: dict[str, object]) -> None:
        body = msgspec.json.encode(fields)
        self.kafka.append(orders.read(body, f"0:{len(self.kafka)}", SETTINGS.command_max_bytes))
        self._pump()

    @rule(
        name=st.sampled_from(IDS), qos=st.integers(0, 2), response=st.booleans(), serial=st.booleans(),
        within=st.none() | st.integers(-1, 30),
    )  # fmt: skip
    def order(self, name: str, qos: int, response: bool, serial: bool, within: int | None) -> None:
        qos = qos or int(serial)  # one that may be lost would hold up all behind it
        fields: dict[str, object] = {"id": name, "name": "x", "qos": qos, "response": response}
        fields["concurrency"] = "serial" if serial else "parallel"
        if within is not None:
            fields["deadline"] = rfc3339(int((self.true_s + within + 0.5) * 1e9))
        if name not in {order.id for order in self.kafka if not order.cancel} and within is not None:
            self.deadlines[name] = self.true_s + within + 0.5
        self._write(fields)

    @rule(name=st.sampled_from(IDS))
    def take_back(self, name: str) -> None:
        self._write({"id": name, "cancel": True})

    @precondition(lambda self: self.kafka)
    @rule(number=st.integers(0, 100))
    def comes_again(self, number: int) -> None:
        order = self.kafka[number % len(self.kafka)]
        self.kafka.append(order)
        self._pump()

    @rule()
    def no_command(self) -> None:
        self._write({"id": f"bad{len(self.kafka)}"})

    # The device.

    @rule(clean=st.booleans())
    def connect(self, clean: bool) -> None:
        kept = self.kept and not clean
        peer = self.gateway.local.connect(DEVICE, self.version, clean=not kept, expiry_s=1000 if kept else 0)
        self.device.connected(peer)
        if not peer.connack.session_present:  # type: ignore[union-attr]
            self._subscribe(self.qos)
        self.gateway.commands.send(DEVICE)
        self._turn()

    def _subscribe(self, qos: int) -> None:
        peer = self.device.peer
        assert peer is not None
        peer.subscribe(Subscription(FILTER, qos), Subscription(ELSE, qos))
        if peer.client.state.expiry_s:
            self.gateway.local.broker.keep(peer.client, lambda: None)
        self.gateway.commands.send(DEVICE)
        self._turn()

    @precondition(lambda self: self.device.hears)
    @rule(qos=st.none() | st.integers(1, 2))
    def subscribe(self, qos: int | None) -> None:
        assert self.device.peer is not None
        if qos is None:
            self.device.peer.unsubscribe(FILTER)
        else:
            self._subscribe(min(qos, self.qos))

    @precondition(lambda self: self.device.hears)
    @rule()
    def lose(self) -> None:
        self.device.lose()

    @precondition(lambda self: self.device.peer)
    @rule()
    def drop(self) -> None:
        assert self.device.peer is not None
        self.device.peer.drop()
        self.device.gone()
        self._turn()

    @precondition(lambda self: self.device.owes)
    @rule(count=FEW)
    def acknowledge(self, count: int) -> None:
        self.device.say(count)
        self._turn()

    @precondition(lambda self: self.device.hears and self.device.got)
    @rule(number=st.integers(0, 100), well=st.booleans())
    def answer(self, number: int, well: bool) -> None:
        self._answer(self.device.got[number % len(self.device.got)], well=well)

    def _answer(self, name: str, *, well: bool) -> None:
        """What follows when the answer is durable is the device's acknowledgement: then a final outcome is."""
        body = b'{"status":"succeeded"}' if well else b'{"status":"failed"}'

        def done() -> None:
            assert FINAL & set(self._durable(name))

        try:
            self.gateway.commands.result(DEVICE, name, body, done, packet_id=0, effect=None)
        except LogFull:
            return
        self._turn()

    @rule(count=st.integers(1, 4))
    def something_else(self, count: int) -> None:
        """What others have for the device takes the room that there is."""
        for _ in range(count):
            self.gateway.local.tell(ELSE, qos=1)
        self._turn()

    @rule(seconds=st.integers(1, 40))
    def time_goes_by(self, seconds: int) -> None:
        self._later(seconds)

    def _later(self, seconds: float) -> None:
        self.true_s += seconds
        self.clock.pass_by(seconds)
        self.gateway.local.now += seconds
        self.gateway.local.broker.expire()
        self._look()

    @rule()
    def look(self) -> None:
        self._look()

    def _look(self) -> None:
        if not self.gateway.lane.full:
            self.gateway.commands.look()
        self._turn()

    @precondition(lambda self: not self.clock.right)
    @rule()
    def the_clock_is_set(self) -> None:
        self.clock.wall, self.clock.right = self.true_s, True

    @rule(heard=st.booleans())
    def the_disk_has_all(self, heard: bool) -> None:
        self.gateway.lane.commit(1000)
        self.gateway.local.broker.keep_messages()
        self.gateway.store.commit(1000)
        if heard:
            self.gateway.lane.hear()
        self.gateway.local.run_soon()
        self._turn()

    @rule(log=SOME, store=SOME, boot=st.booleans(), off=st.integers(0, 40), wrong=st.sampled_from([0.0, -1e6, 1e6]))
    def the_power_goes(self, log: int, store: int, boot: bool, off: int, wrong: float) -> None:
        """What was on its way to the disk comes there in part; nobody hears of it. The next boot may not know the time.

        Without `boot` it is only the process that was killed: the clock stays as it is.
        """
        self.gateway.lane.commit(log)
        self.gateway.store.commit(store, heard=False)
        self._end(off)
        if boot:
            wall, number = self.true_s + wrong, self.clock.boot_id[0] + 1
            self.clock = HandClock(10.0, wall=wall, boot=number, right=not wrong)
        self._begin()

    @rule()
    def stops_and_starts(self) -> None:
        self._settle(5)
        self.saved = self.position
        self._end(1)
        self._begin()

    def _end(self, off_s: float) -> None:
        self.gateway.local.close()
        self.true_s += off_s
        self.clock.pass_by(off_s)

    def teardown(self) -> None:
        """In the end the device is there and answers everything: whatever can be over is, and nothing is said twice."""
        if not hasattr(self, "gateway"):
            return
        if not self.clock.right:
            self.the_clock_is_set()
        self.connect(clean=not self.kept)
        if self.qos:
            self._subscribe(self.qos)
        lossy = {order.id for order in self.kafka if not order.qos or not self.qos}
        names = {order.key for order in self.kafka if not order.cancel}
        stuck = names - lossy
        for _ in range(3 * len(IDS) + 10):
            self._settle(5)
            self.device.say(100)
            for name in dict.fromkeys(self.device.got):
                self._answer(name, well=True)
            stuck = {name for name in stuck if not FINAL & set(self._durable(name))}
            if not stuck:
                break
        assert not stuck, f"{stuck} of {self.said}"
        self._later(LONG_S)
        self._settle(5)
        assert all(FINAL & set(self._durable(name)) for name in names), self.said
        assert len(self.gateway.commands) == 0
        assert self.position == len(self.kafka)
        assert not self.disk.tables.get("commands")
        self.gateway.local.close()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=EXAMPLES, stateful_step_count=100)
"""The long ones are those that find something."""
