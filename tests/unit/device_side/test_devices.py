"""Documents through a real state lane and a real cold store; what becomes of them over restarts and in a full lane."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.config import State
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore
from bridge.device_side.devices import BadPatch, Devices
from bridge.device_side.documents import DesiredState, Document, Labels
from bridge.device_side.downlink import DownlinkReader
from bridge.device_side.group_states import GroupStates
from bridge.device_side.uplink import Lane, Token, Uplink
from bridge.log.cursor import Cursor
from bridge.log.errors import LogFull
from bridge.log.log_id import load_or_create_log_id
from bridge.log.reader import LogReader
from bridge.log.record import DESIRED, DOCUMENT, TOMBSTONE, Record, encode, encode_context
from bridge.log.settings import LogSettings
from tests.unit.device_side.conftest import unexpected
from tests.unit.log.lane import LOG_ID
from tests.unit.log.lane import Lane as Downlink

KIB = 1 << 10
SETTINGS = LogSettings(max_bytes=1024 * KIB, segment_bytes=256 * KIB)
BOUNDS = State(document_max_bytes=2 * KIB, depth_max=8)


class Gateway:
    """What the daemon wires around the documents."""

    def __init__(self, directory: Path, epoch: int = 1, state: State = BOUNDS, *, roaming: bool = False) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = directory / "state"
        self.cold = ColdStore(directory / "cold.sqlite", unexpected)
        self.uplink = Uplink(self.loop, self._committed)
        self.lane = self.uplink.open_lane(
            "state", self.directory, SETTINGS, log_id=LOG_ID, clock=Clock(),
            pending_max=1 << 30, on_failure=lambda failure: pytest.fail(str(failure)),
        )  # fmt: skip
        self.retained: list[tuple[str, object]] = []
        self.devices = Devices(
            state, self.lane, self.cold, Clock(), log_id=LOG_ID, gateway="gw", epoch=epoch,
            kick=self.uplink.kick_soon, retain=self._retain, roaming=roaming, groups=GroupStates(self.cold, 3),
        )  # fmt: skip

    def _retain(self, topic: str, payload: bytes) -> None:
        self.retained.append((topic, msgspec.json.decode(payload) if payload else None))

    def _committed(self, lane: Lane, tokens: list[Token]) -> None:
        for token in tokens:
            if callable(token):
                token()

    def settle(self) -> None:
        """Until all that was appended is durable and its call-backs have run."""
        while self.lane.writer.pending_bytes:
            self.loop.run_until_complete(asyncio.sleep(0.002))
        self.loop.run_until_complete(asyncio.sleep(0.002))

    def tail(self) -> list[Record]:
        position = self.devices.position_in_store(LOG_ID)
        return LogReader(self.directory, LOG_ID, position).read(self.lane.writer.committed, 10_000, 1 << 30)

    def documents(self) -> list[Document]:
        """As the readers of the topic get them."""
        records = LogReader(self.directory, LOG_ID).read(self.lane.writer.committed, 10_000, 1 << 30)
        return [msgspec.json.decode(each.payload, type=Document) for each in records if each.kind == DOCUMENT]

    def report(self, device: str, patch: object) -> None:
        self.devices.report(device, msgspec.json.encode(patch), None, packet_id=0, effect=None)
        self.settle()

    def fill(self) -> None:
        """Until the lane takes no record more."""
        big = encode(DOCUMENT, 0, 0, 0, 0, encode_context("filler", ""), b"", b'{"device":"filler"}' + b" " * 8000)
        while not (self.lane.writer.full and self.lane.writer.shortage):
            if not self.lane.writer.full:
                self.lane.append(big)
            self.settle_now()

    def settle_now(self) -> None:
        self.lane.writer.kick()
        while self.lane.writer.pending_bytes:
            self.loop.run_until_complete(asyncio.sleep(0.001))

    def end(self, *, crash: bool = False) -> None:
        """A crash loses what the cold store had not written; nothing else could be lost."""
        if not crash:
            self.settle()
        self.uplink.close()
        self.cold.close()
        self.loop.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path)
    yield gateway
    if not gateway.loop.is_closed():
        gateway.end()


def test_every_change_is_a_record_of_its_own(gateway: Gateway) -> None:
    gateway.devices.online("dev-1")
    gateway.report("dev-1", {"a": 1})
    gateway.devices.offline("dev-1", "keepalive", 1_700_000_000_000_000_000)
    gateway.settle()
    first, second, third = gateway.documents()
    assert first.presence is not None
    assert (first.presence.state, first.reported) == ("online", None)
    assert second.reported is not None
    assert (second.reported.state, second.reported.version) == ({"a": 1}, 1)
    assert third.presence is not None
    assert (third.presence.state, third.presence.reason) == ("offline", "keepalive")
    assert (third.presence.last_seen, third.reported) == ("2023-11-14T22:13:20.000Z", second.reported)


@pytest.mark.parametrize("crash", [False, True])
def test_a_restart_has_the_documents_and_says_who_is_not_there_any_more(tmp_path: Path, crash: bool) -> None:
    first = Gateway(tmp_path)
    first.devices.online("dev-1")
    first.report("dev-1", {"a": 1})
    first.devices.online("gone")
    first.devices.offline("gone", "disconnected", None)
    first.uplink.kick_soon()
    first.settle_now()
    first.end(crash=crash)
    second = Gateway(tmp_path, epoch=2)
    second.devices.restore(second.tail())
    second.settle()
    document, gone = second.devices.get("dev-1"), second.devices.get("gone")
    assert document is not None
    assert document.presence is not None
    assert document.reported is not None
    assert (document.presence.state, document.presence.reason) == ("offline", "gateway-stopped")
    assert (document.presence.gateway_epoch, document.reported.state) == (2, {"a": 1})
    assert gone is not None
    assert gone.presence is not None
    assert (gone.presence.reason, gone.presence.gateway_epoch) == ("disconnected", 1)
    second.end()


@pytest.mark.parametrize(
    "patch", [b"", b"[]", b"1", b'{"a":', b"\xff", b'{"a": 1e999}', b'{"a":' * 2000 + b"1" + b"}" * 2000]
)
def test_what_is_no_json_object_is_refused_and_changes_nothing(gateway: Gateway, patch: bytes) -> None:
    with pytest.raises(BadPatch, match="not a JSON object"):
        gateway.devices.report("dev-1", patch, None, packet_id=0, effect=None)
    assert gateway.devices.get("dev-1") is None


def test_what_is_nested_too_deep_or_grows_too_large_is_refused(gateway: Gateway) -> None:
    deep: object = 1
    for _ in range(BOUNDS.depth_max):
        deep = {"a": deep}
    gateway.report("dev-1", deep)
    for patch in ({"a": deep}, {"a": [[[[[[[[1]]]]]]]]}):
        with pytest.raises(BadPatch, match="nested deeper than 8 levels"):
            gateway.report("dev-1", patch)
        with pytest.raises(BadPatch, match="nested deeper"):
            gateway.devices.desire("dev-1", DesiredState(1, patch), lambda: None)
    with pytest.raises(BadPatch, match="larger than 2048 bytes"):
        gateway.report("dev-1", {"b": "x" * 2048})
    with pytest.raises(BadPatch, match="larger than 2048 bytes"):
        gateway.devices.desire("dev-1", DesiredState(1, {"b": "x" * 2048}), lambda: None)
    document = gateway.devices.get("dev-1")
    assert document is not None
    assert document.reported is not None
    assert document.desired is None
    assert (document.reported.version, document.reported.state) == (1, deep)


def test_a_document_at_its_bound_still_has_its_presence_told(gateway: Gateway) -> None:
    with contextlib.suppress(BadPatch):
        for size in itertools.count(BOUNDS.document_max_bytes - 300):
            gateway.report("dev-1", {"b": "x" * size})
    gateway.devices.offline("dev-1", "connection-lost", None)
    gateway.settle()
    presence = gateway.documents()[-1].presence
    assert presence is not None
    assert presence.reason == "connection-lost"


def test_the_device_is_told_what_is_desired_and_the_delta_only_when_it_changes(gateway: Gateway) -> None:
    gateway.devices.online("dev-1")
    gateway.devices.desire("dev-1", DesiredState(4, {"a": 1, "b": 2}), lambda: None)
    both = {"version": 4, "state": {"a": 1, "b": 2}}
    assert gateway.retained == [("devices/dev-1/state/desired", both), ("devices/dev-1/state/delta", both)]
    gateway.retained.clear()
    gateway.report("dev-1", {"c": 1})
    assert gateway.retained == []
    gateway.report("dev-1", {"a": 1})
    assert gateway.retained == [("devices/dev-1/state/delta", {"version": 4, "state": {"b": 2}})]
    gateway.devices.desire("dev-1", None, lambda: None)
    assert gateway.retained[1:] == [("devices/dev-1/state/desired", None), ("devices/dev-1/state/delta", None)]


def test_done_is_said_when_it_is_durable_and_at_once_for_what_is_known(gateway: Gateway) -> None:
    done: list[str] = []
    gateway.devices.online("dev-1")
    gateway.devices.desire("dev-1", DesiredState(4, {"a": 1}), lambda: done.append("new"))
    assert done == []
    gateway.settle()
    gateway.devices.desire("dev-1", DesiredState(4, {"a": 2}), lambda: done.append("known"))
    assert done == ["new", "known"]
    assert len(gateway.documents()) == 2


def test_what_is_desired_of_devices_that_were_never_here_is_not_kept(gateway: Gateway) -> None:
    done: list[str] = []
    gateway.devices.desire("dev-1", DesiredState(4, {"a": 1}), lambda: done.append("desired"))
    gateway.devices.label("dev-1", Labels(1, {"site": "north"}), lambda: done.append("labels"))
    assert done == ["desired", "labels"]
    assert gateway.devices.get("dev-1") is None
    assert gateway.retained == []


def test_labels_follow_their_versions_and_outlive_a_crash(gateway: Gateway, tmp_path: Path) -> None:
    done: list[str] = []
    gateway.devices.online("dev-1")
    for version, site in ((3, "north"), (3, "again"), (2, "south"), (4, "west")):
        gateway.devices.label("dev-1", Labels(version, {"site": site}), lambda site=site: done.append(site))
    assert done == ["again", "south"], "what is old changes nothing; the others are not durable yet"
    gateway.settle()
    gateway.report("dev-1", {"a": 1})
    gateway.end(crash=True)
    after = Gateway(tmp_path, epoch=2)
    after.devices.restore(after.tail())
    document = after.devices.get("dev-1")
    assert document is not None
    assert (document.labels, document.labels_version) == ({"site": "west"}, 4)
    after.devices.label("dev-1", None, lambda: done.append("none"))
    after.settle()
    assert done[2:] == ["north", "west", "none"]
    assert (after.documents()[-1].labels, after.documents()[-2].labels) == (msgspec.UNSET, {"site": "west"})
    after.end()


def test_in_a_full_lane_presence_waits_and_reports_are_refused_until_there_is_room(gateway: Gateway) -> None:
    gateway.devices.online("dev-1")
    gateway.fill()
    before = 0
    while before < gateway.lane.writer.next_seq:  # small records still find a place for a while
        before = gateway.lane.writer.next_seq
        gateway.devices.offline("dev-1", "keepalive", None)
        gateway.settle_now()
    with pytest.raises(LogFull):
        gateway.devices.report("dev-1", b'{"a":"' + b"x" * 1000 + b'"}', None, packet_id=0, effect=None)
    gateway.lane.writer.forwarded(gateway.lane.writer.committed)
    while gateway.lane.blocked:
        gateway.loop.run_until_complete(asyncio.sleep(0.01))
    gateway.devices.relieved()
    gateway.settle()
    document = gateway.documents()[-1]
    assert document.presence is not None
    assert (document.device, document.presence.reason) == ("dev-1", "keepalive")
    assert document.reported is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_whatever_is_taken_in_can_be_read_again(gateway: Gateway, patch: dict[str, object]) -> None:
    try:
        gateway.report("dev-1", patch)
    except BadPatch:
        return
    assert gateway.documents()[-1] == gateway.devices.get("dev-1")


def desired(device: str, payload: bytes, *, tombstone: bool = False) -> bytes:
    return encode(DESIRED, TOMBSTONE if tombstone else 0, 0, 0, 0, encode_context(device, ""), b"", payload)


@pytest.fixture
def downlink(tmp_path: Path) -> Iterator[Downlink]:
    """The bus side's log for the devices."""
    log = Downlink(tmp_path / "downlink")
    load_or_create_log_id(tmp_path / "downlink")
    (tmp_path / "downlink" / "LOG").write_text(LOG_ID.hex())
    yield log
    log.writer.close()


def write(log: Downlink, *records: bytes) -> int:
    """Position behind them."""
    for each in records:
        log.wait(lambda: not log.writer.full)
        log.writer.append(each)
        log.writer.kick()
    log.wait(lambda: log.writer.committed == log.writer.next_seq)
    return log.writer.committed


def test_what_is_desired_is_applied_and_the_cursor_follows_when_it_is_durable(
    gateway: Gateway, downlink: Downlink
) -> None:
    for device in ("dev-1", "dev-2"):
        gateway.devices.online(device)
    reader = DownlinkReader(downlink.directory, gateway.devices)
    reader.advance(
        write(downlink, desired("dev-1", b'{"version":4,"state":{"a":1}}'), desired("dev-2", b"nonsense"),
              desired("dev-2", b'{"version":1,"state":{}}'), desired("dev-1", b"", tombstone=True))
    )  # fmt: skip
    assert reader.position == 1
    gateway.settle()
    assert reader.position == 5
    reader.save()
    cursor = Cursor.load(downlink.directory)
    assert cursor is not None
    assert (cursor.position, reader.unsaved) == (5, False)
    assert [(each.device, each.desired and each.desired.version) for each in gateway.documents()[2:]] == [
        ("dev-1", 4), ("dev-2", 1), ("dev-1", None),
    ]  # fmt: skip


def test_before_the_bus_side_has_made_its_log_there_is_nothing_to_read_and_nothing_is_made(
    gateway: Gateway, tmp_path: Path
) -> None:
    reader = DownlinkReader(tmp_path / "none", gateway.devices)
    reader.advance(5)
    reader.pump()
    assert not (tmp_path / "none").exists()


def test_in_a_full_lane_nothing_desired_is_lost(gateway: Gateway, downlink: Downlink) -> None:
    gateway.devices.online("dev-1")
    gateway.fill()
    reader = DownlinkReader(downlink.directory, gateway.devices)
    states = [b'{"version":%d,"state":{"a":"%s"}}' % (number, b"x" * 800) for number in range(1, 151)]
    reader.advance(write(downlink, *(desired("dev-1", each) for each in states)))
    gateway.settle_now()
    before = reader.position
    assert before < 151
    gateway.lane.writer.forwarded(gateway.lane.writer.committed)
    while reader.position < 151:
        gateway.loop.run_until_complete(asyncio.sleep(0.01))
        gateway.lane.writer.forwarded(gateway.lane.writer.committed)
        reader.pump()
    document = gateway.devices.get("dev-1")
    assert document is not None
    assert document.desired is not None
    assert document.desired.version == 150


def presences(gateway: Gateway, device: str) -> list[str]:
    gateway.settle()
    return [each.presence.state for each in gateway.documents() if each.device == device and each.presence is not None]


def test_a_birth_replaces_all_that_was_reported_and_a_second_one_is_no_new_connection(gateway: Gateway) -> None:
    gateway.devices.born("d", {"a": 1, "b": {"x": 1, "y": 2}})
    gateway.devices.born("d", {"b": {"x": 1}, "c": [None]})
    gateway.devices.born("d", {"b": {"x": 1}, "c": [None]})
    gateway.settle()
    first, second = gateway.documents()
    assert second.reported is not None
    assert (second.reported.version, second.reported.state) == (2, {"b": {"x": 1}, "c": [None]})
    assert first.presence == second.presence
    gateway.devices.offline("d", "device-death", 0)
    gateway.devices.born("d", {"b": {"x": 1}, "c": [None]})
    assert presences(gateway, "d") == ["online", "online", "offline", "online"]


def test_a_birth_says_all_also_where_it_changes_nothing_here(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, roaming=True)
    for _ in range(2):
        gateway.devices.online("d")
        for _ in range(2):
            gateway.devices.born("d", {"a": 1})
    gateway.settle()
    assert [each.ground.count for each in gateway.documents() if each.ground is not msgspec.UNSET] == [0, 1, 0, 1]
    assert [each.reported.version for each in gateway.documents() if each.reported is not None] == [1, 1, 2]
    document = gateway.devices.get("d")
    assert document is not None
    assert document.ground is not msgspec.UNSET
    assert document.ground.whole is True
    gateway.end()


def test_a_birth_that_tells_nothing_leaves_what_was_reported(gateway: Gateway) -> None:
    gateway.devices.born("d", {"a": 1})
    gateway.devices.offline("d", "device-death", 0)
    gateway.devices.born("d", None)
    gateway.devices.born("d", None)
    assert presences(gateway, "d") == ["online", "offline", "online"]
    document = gateway.devices.get("d")
    assert document is not None
    assert document.reported is not None
    assert document.reported.state == {"a": 1}


def test_what_is_told_of_who_is_not_here_is_not_written(gateway: Gateway) -> None:
    gateway.devices.told("d", {"a": 1})
    gateway.devices.born("d", {"a": 1, "b": 2})
    gateway.devices.told("d", {"a": 3, "b": None})
    gateway.devices.offline("d", "device-death", 0)
    gateway.devices.told("d", {"a": 4})
    assert presences(gateway, "d") == ["online", "online", "offline"]
    document = gateway.devices.get("d")
    assert document is not None
    assert document.reported is not None
    assert document.reported.state == {"a": 3}


def test_a_birth_that_does_not_fit_leaves_its_device_there(gateway: Gateway) -> None:
    with pytest.raises(BadPatch):
        gateway.devices.born("d", {"a": "x" * 3000})
    assert presences(gateway, "d") == ["online"]
    with pytest.raises(BadPatch):
        gateway.devices.born("d", {"a": "x" * 3000})
    assert presences(gateway, "d") == ["online"]


def test_a_start_tells_sessions_again_what_they_may_have_missed_and_nobody_else(tmp_path: Path) -> None:
    first = Gateway(tmp_path)
    for number in range(3):
        first.devices.online(f"dev-{number}")
        first.devices.desire(f"dev-{number}", DesiredState(1, {"a": number}), lambda: None)
    first.settle()
    first.end()
    second = Gateway(tmp_path, epoch=2)
    second.devices.restore(second.tail())
    assert second.retained == []
    second.devices.tell_again({"devices/dev-1/state/+", "devices/dev-1/state/desired", "telemetry/#"})
    one = {"version": 1, "state": {"a": 1}}
    assert second.retained == [("devices/dev-1/state/desired", one), ("devices/dev-1/state/delta", one)]
    assert [each.topic for each in second.devices.retained_on("#")][::2] == [
        f"devices/dev-{number}/state/desired" for number in range(3)
    ]
    second.settle()
    second.end()
