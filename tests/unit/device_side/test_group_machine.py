"""The life of commands to groups, in any order, while the power goes between any two steps.

The oracle: of each device's command and of each group's one final outcome; a summary comes last, and counts what was
said of each of its devices; nothing is given up in the downlink log that a restart would not know of; nothing is stuck.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from bridge import orders
from bridge.config import Acl as AclRules
from bridge.config import Downlink
from bridge.device_side.clock import rfc3339
from bridge.device_side.command import FINAL
from bridge.device_side.commands import Commands
from bridge.device_side.devices import POSITION_KEY
from bridge.device_side.group_commands import GroupCommands
from bridge.device_side.outcomes import Outcomes
from bridge.device_side.tallies import Key, Tallies, row_of_key
from bridge.groups import GROUPS, is_member
from bridge.log.errors import LogFull
from bridge.log.record import Record, decode_context
from bridge.orders import Order
from bridge.security.acl import Acl
from tests.unit.device_side.clocks import HandClock
from tests.unit.device_side.command_disk import Disk, MemoryLane, MemoryStore
from tests.unit.device_side.disk_rules import SOME, DiskRules
from tests.unit.device_side.local import Local

LOG_ID = bytes(16)
DEVICES = [f"d{number}" for number in range(5)]
NAMES = st.sampled_from(["all", "site=north", "site=south"])
IDS = st.sampled_from(["c0", "c1", "c2"])
SETTINGS = Downlink(
    command_topic="device-commands", group_slice=2, group_commands_open=2, commands_waiting=2, command_deadline=50_000.0
)


class Gateway:
    """One life of the device side, as far as commands go; its devices sleep, and answer when a rule says so."""

    def __init__(
        self, disk: Disk, clock: HandClock, appended: Callable[[Record], None], labels: dict[str, dict[str, str]]
    ) -> None:
        self.store = MemoryStore(disk)
        self.local = Local(self.store, clock=clock)
        self.local.now = clock.mono
        self.lane = MemoryLane(disk, appended)
        soon = self.local.loop.call_soon
        tallies = Tallies(self.store, LOG_ID)
        outcomes = Outcomes(SETTINGS, self.lane, self.store, clock, tallies, log_id=LOG_ID, kick=lambda: None)
        self.commands = Commands(
            SETTINGS, outcomes, self.local.broker, self.store, Acl(AclRules()), clock,
            knows=lambda device: True, now=lambda: self.local.now, soon=soon,
        )  # fmt: skip
        self.groups = GroupCommands(
            SETTINGS, self.commands, outcomes, tallies, self.local.broker, self.store, soon=soon,
            devices=lambda: DEVICES, has_member=lambda name, device: is_member(labels.get(device, {}), name),
        )  # fmt: skip
        self.local.broker.restore({})
        _, _, position = (self.store.get("meta", POSITION_KEY) or b":1").decode().partition(":")
        self.commands.restore(self.lane.tail(int(position)))
        self.groups.restore()

    def take(self, key: str, order: Order, done: Callable[[], None]) -> None:
        """As the downlink's reader hands it over. Raises LogFull."""
        if key.startswith(GROUPS):
            self.groups.take(key.removeprefix(GROUPS), order, done)
        else:
            self.commands.take(key, order, done)


class GroupLife(DiskRules):
    """Rules: what can happen."""

    @initialize()
    def start(self) -> None:
        self.disk = Disk()
        self.clock = HandClock()
        self.labels: dict[str, dict[str, str]] = {"d0": {"site": "north"}, "d1": {"site": "north"}}
        self.kafka: list[tuple[str, Order]] = []
        self.position = self.saved = 0
        self.wrong: list[str] = []
        """What was said and should not; on the loop nobody would hear of an error."""
        self._begin()

    def _begin(self) -> None:
        self.position = self.taken = self.saved
        self.done: set[int] = set()
        self.said: dict[Key, list[dict[str, object]]] = {}
        """In the present life or on disk."""
        for record in self.disk.log:
            self._appended(record)
        self.gateway = Gateway(self.disk, self.clock, self._appended, self.labels)
        self._pump()

    # What is watched.

    def _appended(self, record: Record) -> None:
        key, name, _ = decode_context(record.context)
        value = msgspec.json.decode(record.payload)
        before = self.said.setdefault((key, name), [])
        words = [each["outcome"] for each in before]
        if FINAL & set(words) or value["outcome"] in words:
            self.wrong.append(f"{key} {name}: {value['outcome']} after {words}")
        before.append(value)
        if key.startswith(GROUPS) and "counts" in value:
            ends = self._ends(key.removeprefix(GROUPS), name)
            if value["counts"] != ends or value["devices"] != sum(ends.values()):
                self.wrong.append(f"{key} {name}: {value} instead of {ends}")

    def _ends(self, group: str, name: str) -> Counter[object]:
        """What the outcomes of devices add up to."""
        values = [value for (_, own), said in self.said.items() if own == name for value in said]
        return Counter(each["outcome"] for each in values if each.get("group") == group and each["outcome"] in FINAL)

    def _durable(self, key: Key) -> set[object]:
        records = [record for record in self.disk.log if decode_context(record.context)[:2] == key]
        return {msgspec.json.decode(record.payload)["outcome"] for record in records}

    def _secured(self, number: int) -> bool:
        """Whether a restart from what is on disk knows what became of the order."""
        key, order = self.kafka[number]
        where = (key, order.key)
        table = self.disk.tables.get("group_orders" if key.startswith(GROUPS) else "commands", {})
        if FINAL & self._durable(where):
            return True
        if order.cancel:
            return where not in {(each, one.id) for each, one in self.kafka[:number] if not one.cancel} or (
                row_of_key(where) in table and key.startswith(GROUPS)
            )
        return row_of_key(where) in table

    @invariant()
    def nothing_is_said_that_is_wrong(self) -> None:
        assert self.wrong == [], self.wrong

    @invariant()
    def whats_given_up_is_on_disk(self) -> None:
        for number in range(self.saved, self.position):
            assert self._secured(number), self.kafka[number]

    # From Kafka.

    def _take(self, number: int, done: Callable[[], None]) -> None:
        self.gateway.take(*self.kafka[number], done)

    def _write(self, key: str, fields: dict[str, object]) -> None:
        body = msgspec.json.encode(fields)
        self.kafka.append((key, orders.read(body, f"0:{len(self.kafka)}", SETTINGS.command_max_bytes)))
        self._pump()

    @rule(group=NAMES, name=IDS, within=st.none() | st.integers(-1, 30))
    def order(self, group: str, name: str, within: int | None) -> None:
        fields: dict[str, object] = {"id": name, "name": "x"}
        if within is not None:
            fields["deadline"] = rfc3339(int((self.clock.wall + within + 0.5) * 1e9))
        self._write(f"{GROUPS}{group}", fields)

    @rule(device=st.sampled_from(DEVICES), name=IDS)
    def order_of_one(self, device: str, name: str) -> None:
        self._write(device, {"id": name, "name": "x"})

    @rule(group=NAMES, name=IDS)
    def take_back(self, group: str, name: str) -> None:
        self._write(f"{GROUPS}{group}", {"id": name, "cancel": True})

    @rule(device=st.sampled_from(DEVICES), name=IDS)
    def take_back_from_one(self, device: str, name: str) -> None:
        self._write(device, {"id": name, "cancel": True})

    @precondition(lambda self: self.kafka)
    @rule(number=st.integers(0, 100))
    def comes_again(self, number: int) -> None:
        self.kafka.append(self.kafka[number % len(self.kafka)])
        self._pump()

    @rule(group=st.sampled_from(["everyone", "a b=c"]), name=IDS)
    def no_group(self, group: str, name: str) -> None:
        self._write(f"{GROUPS}{group}", {"id": name, "name": "x"})

    # Devices.

    @rule(device=st.sampled_from(DEVICES), site=st.sampled_from(["north", "south"]))
    def label(self, device: str, site: str) -> None:
        self.labels[device] = {"site": site}

    @rule(device=st.sampled_from(DEVICES), name=IDS, well=st.booleans())
    def answer(self, device: str, name: str, well: bool) -> None:
        body = b'{"status":"succeeded"}' if well else b'{"status":"failed"}'
        try:
            self.gateway.commands.result(device, name, body, lambda: None, packet_id=0, effect=None)
        except LogFull:
            return
        self._turn()

    @rule(seconds=st.integers(1, 40))
    def time_goes_by(self, seconds: int) -> None:
        self.clock.pass_by(seconds)
        self.gateway.local.now += seconds
        self._look()

    @rule()
    def look(self) -> None:
        self._look()

    def _look(self) -> None:
        if not self.gateway.lane.full:
            self.gateway.commands.look()
            self.gateway.groups.look()
        self._turn()

    @rule(log=SOME, store=SOME)
    def the_power_goes(self, log: int, store: int) -> None:
        """What was on its way to the disk comes there in part; nobody hears of it."""
        self.gateway.lane.commit(log)
        self.gateway.store.commit(store, heard=False)
        self.gateway.local.close()
        self._begin()

    def teardown(self) -> None:
        """In the end every deadline is over: whatever can be over is."""
        if not hasattr(self, "gateway"):
            return
        self._settle(12)
        self.clock.pass_by(100_000)
        self._settle(12)
        for key, order in self.kafka:
            if not order.cancel:
                assert FINAL & self._durable((key, order.key)), (key, order, self.said)
        assert len(self.gateway.commands) == len(self.gateway.groups) == 0
        assert self.wrong == [], self.wrong
        assert self.position == len(self.kafka)
        assert not any(self.disk.tables.get(table) for table in ("commands", "group_orders", "tallies"))
        self.gateway.local.close()


TestGroupLife = GroupLife.TestCase


def test_a_tally_never_leads_the_log() -> None:
    """What the walk comes to seldom: an outcome is lost with the power, and another is said in its place."""
    life = GroupLife()
    life.start()
    life.order(group="all", name="c0", within=None)
    life._settle(12)
    life.answer(device="d0", name="c0", well=True)
    life.the_store_has(count=40)
    life.the_power_goes(log=0, store=40)
    life.answer(device="d1", name="c0", well=False)
    life.answer(device="d0", name="c0", well=True)
    life.teardown()
    assert life.wrong == []
    (ends,) = [each["counts"] for each in life.said["group/all", "c0"] if "counts" in each]
    assert ends == {"succeeded": 1, "failed": 1, "expired": 3}
