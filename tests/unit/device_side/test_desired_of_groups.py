"""What a device is told when its groups are told something: against a model, and through real stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bridge.device_side.desired import Group, State, compose
from bridge.device_side.devices import BadPatch
from bridge.device_side.documents import (
    DesiredState,
    Document,
    Labels,
    Presence,
    apply_desired,
    apply_labels,
    labels_of,
    reconciled,
    regrouped,
    without_desired,
)
from bridge.device_side.group_states import GroupStates
from bridge.device_side.regrouping import Regrouping
from bridge.groups import by_rank, is_member
from tests.unit.device_side.test_devices import Gateway

AT = "2026-11-21T10:00:00.000Z"
NAMES = st.sampled_from(["all", "site=north", "model=x1", "site=south"])
LABELS = st.fixed_dictionaries({}, optional={"site": st.sampled_from(["north", "south"]), "model": st.just("x1")})
STATES = st.dictionaries(
    st.sampled_from("abc"), st.none() | st.integers(0, 2) | st.fixed_dictionaries({"x": st.integers(0, 2)}), max_size=2
)


class Device(RuleBasedStateMachine):
    """One device, what is said of it and of groups, and a second gateway that learns of it now and then."""

    @initialize()
    def begin(self) -> None:
        presence = Presence("online", AT, AT, None, "gw-a", 1, connected=AT)
        self.document = Document("d", presence)
        self.groups: dict[str, Group] = {}
        self.own: State | None = None
        self.labels: dict[str, str] = {}
        self.number = 0
        self.told: list[tuple[int, State]] = []
        """Each version that the device was told, since nothing was desired of it."""

    def of(self, labels: dict[str, str]) -> list[Group]:
        found = [group for name, group in self.groups.items() if is_member(labels, name)]
        return sorted(found, key=lambda group: by_rank(group.name))

    def now(self, document: Document | None) -> None:
        assert document is not None
        desired = document.desired
        if desired is None:
            self.told = []
        elif not self.told or self.told[-1] != (desired.version, desired.state):
            assert not self.told or desired.version > self.told[-1][0], "a device takes no older version"
            self.told.append((desired.version, desired.state))
        self.document = document

    @rule(state=STATES, step=st.integers(1, 3))
    def desire(self, state: State, step: int) -> None:
        self.number += step
        self.own = state
        self.now(apply_desired(self.document, DesiredState(self.number, state), AT, self.of(labels_of(self.document))))

    @rule()
    def desire_nothing(self) -> None:
        self.own = None
        self.now(without_desired(self.document, AT, self.of(labels_of(self.document))))

    @rule(name=NAMES, state=STATES)
    def desire_of_group(self, name: str, state: State) -> None:
        before = self.groups.get(name)
        self.groups[name] = Group(name, before.version + 1 if before else 1, state)
        self.regroup()

    @rule(name=NAMES)
    def desire_nothing_of_group(self, name: str) -> None:
        self.groups.pop(name, None)
        self.regroup()

    @rule(labels=LABELS)
    def label(self, labels: dict[str, str]) -> None:
        self.number += 1
        self.labels = labels
        self.document = apply_labels(self.document, Labels(self.number, labels)) or self.document
        self.regroup()

    @rule(fresh=st.booleans())
    def move(self, fresh: bool) -> None:
        """To a gateway that has heard of the groups, and of the device only from the topic."""
        newer = msgspec.structs.replace(self.document.presence, gateway="gw-b", connected=f"{AT}{self.number}")
        own = Document("d", newer) if fresh else msgspec.structs.replace(self.document, presence=newer)
        merged = reconciled(own, self.document, "gw-b", self.of, AT)
        self.now(msgspec.structs.replace(merged, presence=self.document.presence))

    def regroup(self) -> None:
        groups = self.of(labels_of(self.document))
        after = regrouped(self.document, groups, AT)
        assert regrouped(after, groups, AT) is after
        self.now(after)

    @invariant()
    def the_device_is_told_its_groups_and_on_top_its_own(self) -> None:
        groups = self.of(self.labels)
        desired = self.document.desired
        if self.own is None and not groups:
            assert desired is None
            return
        expected: State = {}
        for state in (*(group.state for group in groups), self.own or {}):
            expected = compose(expected, state)
        assert desired is not None
        assert desired.state == expected
        named = [] if desired.groups is msgspec.UNSET else [each.group for each in desired.groups]
        assert named == [group.name for group in groups]
        assert msgspec.json.decode(msgspec.json.encode(self.document), type=Document) == self.document


TestDevice = Device.TestCase


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path)
    yield gateway
    if not gateway.loop.is_closed():
        gateway.end()


def grouped(gateway: Gateway, at_once: int = 2) -> tuple[Regrouping, list[Callable[[], object]]]:
    """What the daemon wires, and the turns of the loop that wait."""
    turns: list[Callable[[], object]] = []
    stored: Callable[[Callable[[], object]], object] = gateway.cold.after_commit
    return Regrouping(gateway.devices, soon=turns.append, when_stored=stored, at_once=at_once), turns


def test_a_group_is_served_some_devices_at_a_time_and_a_kill_loses_none(gateway: Gateway, tmp_path: Path) -> None:
    for number in range(5):
        gateway.devices.online(f"dev-{number}")
    gateway.devices.label("dev-4", Labels(1, {"site": "north"}), lambda: None)
    regrouping, turns = grouped(gateway)
    regrouping.take("all", DesiredState(1, {"a": 1}), lambda: None)
    regrouping.take("site=north", DesiredState(7, {"b": 2}), lambda: None)
    assert len(turns) == 1
    turns.pop()()
    states = [document and document.desired for document in map(gateway.devices.get, gateway.devices.ids())]
    assert [each is not None for each in states] == [True, True, False, False, False]
    gateway.settle()
    gateway.end()
    after = Gateway(tmp_path, epoch=2)
    after.devices.restore(after.tail())
    regrouping, turns = grouped(after)
    regrouping.start()
    while turns:
        turns.pop()()
    after.settle()
    for number in range(5):
        document = after.devices.get(f"dev-{number}")
        assert document is not None
        assert document.desired is not None
        assert document.desired.state == ({"a": 1, "b": 2} if number == 4 else {"a": 1})
    north = [body for topic, body in after.retained if topic == "devices/dev-4/state/desired"]
    assert north[-1] == {"version": 1, "state": {"a": 1, "b": 2}}
    after.end()


def test_in_a_full_lane_the_rest_of_a_group_waits_for_room(gateway: Gateway) -> None:
    for number in range(4):
        gateway.devices.online(f"dev-{number}")
    gateway.fill()
    regrouping, turns = grouped(gateway, at_once=10)
    for version in range(1, 40):  # small records still find a place for a while
        regrouping.take("all", DesiredState(version, {"a": "x" * 500}), lambda: None)
        while turns:
            turns.pop()()
    behind = [device for device in gateway.devices.ids() if version_of_all(gateway, device) < 39]
    assert behind
    gateway.lane.writer.forwarded(gateway.lane.writer.committed)
    gateway.settle_now()
    while any(version_of_all(gateway, device) < 39 for device in gateway.devices.ids()):
        gateway.settle_now()
        gateway.lane.writer.forwarded(gateway.lane.writer.committed)
        regrouping.look()
        while turns:
            turns.pop()()


def version_of_all(gateway: Gateway, device: str) -> int:
    """Of what is desired of all, as far as this device has been told."""
    document = gateway.devices.get(device)
    desired = document.desired if document is not None else None
    if desired is None or desired.groups is msgspec.UNSET:
        return 0
    return desired.groups[0].version


def test_old_versions_too_many_groups_and_what_is_too_deep_or_too_large_change_nothing(gateway: Gateway) -> None:
    gateway.devices.online("dev-1")
    regrouping, turns = grouped(gateway)

    def take(name: str, version: int, state: State) -> object:
        regrouping.take(name, DesiredState(version, state), lambda: None)
        while turns:
            turns.pop()()
        document = gateway.devices.get("dev-1")
        return document and document.desired and document.desired.state

    assert take("all", 5, {"a": 1}) == {"a": 1}
    assert take("all", 4, {"a": 2}) == {"a": 1}
    assert take("all", 5, {"a": 2}) == {"a": 1}
    assert take("all", 6, {"a": "x" * 4000}) == {"a": 1}, "the document would be too large"
    deep: State = {}
    for _ in range(20):
        deep = {"a": deep}
    with pytest.raises(BadPatch):
        take("all", 7, deep)
    assert take("all", 8, {"a": 3}) == {"a": 3}
    for number in range(4):
        take(f"n={number}", 1, {})
    assert len(gateway.devices.groups) == 3
    regrouping.take("all", None, lambda: None)
    while turns:
        turns.pop()()
    assert gateway.retained[-2:] == [("devices/dev-1/state/desired", None), ("devices/dev-1/state/delta", None)]


def test_what_is_desired_of_groups_is_kept(gateway: Gateway) -> None:
    groups = GroupStates(gateway.cold, 3)
    groups.take("all", DesiredState(1, {"a": 1}))
    groups.take("site=north", DesiredState(2, {}))
    groups.take("all", None)
    gateway.end()
    again = Gateway(gateway.directory.parent)
    assert [group.name for group in again.devices.groups.of({"site": "north"})] == ["site=north"]
    again.end()
