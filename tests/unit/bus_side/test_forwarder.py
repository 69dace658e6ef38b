"""The forwarder on real logs, with a sink in memory that can be told to fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil

import pytest

from bridge.bus_side.backoff import Backoff
from bridge.bus_side.bell import Bell
from bridge.bus_side.forwarder import Forwarder
from bridge.bus_side.lanes import Budget
from bridge.bus_side.link import Link
from bridge.bus_side.meter import Meter
from bridge.bus_side.sink import SinkAgain, SinkAway, SinkFenced, SinkRefused, Written
from bridge.config import Lane as LaneSettings
from bridge.log import doorbell
from bridge.log.cursor import Cursor
from bridge.log.doorbell import Doorbell, Health
from bridge.log.record import EVENT
from tests.support.kafka.feed import Feed
from tests.unit.log.lane import LOG_ID
from tests.unit.log.lane import Lane as DroppingLane
from tests.unit.log.test_dropped import DROPPING


class MemorySink:
    """Keeps records and positions together, as Kafka does; `failures`: what to raise, and whether it took before."""

    holds_positions = True

    def __init__(self, wire_bytes=7):
        self.records = []
        self.wire_bytes = wire_bytes
        self.probes = 0
        self.gone = False
        self.writes = []
        """Of each that went through, how many records by lane."""
        self.positions = {}
        self.failures = []
        self.starts = 0

    async def start(self, lanes, log_id):
        self.starts += 1
        return dict(self.positions)

    async def write(self, batches):
        error, taken = self.failures.pop(0) if self.failures else (None, True)
        if taken:
            for batch in batches:
                self.records += [(batch.lane, record.seq, record.kind, record.payload) for record in batch.records]
                self.positions[batch.lane] = batch.position
        if error is not None:
            raise error
        self.writes.append({batch.lane: len(batch.records) for batch in batches})
        return Written(self.writes[-1], self.wire_bytes, {"invalid-record": 1})

    async def probe(self):
        self.probes += 1
        if self.gone:
            raise SinkAway("it is gone")

    async def stop(self):
        """Nothing to let go of."""


class Bench:
    """A forwarder at work, and the other end of its bell."""

    def __init__(self, directory, sink, records_max=100, lanes=None, meter=None, probe_s=3600.0):
        mine, theirs = doorbell.pair()
        self.bell = Doorbell(mine)
        self.feed = Feed(directory, ("normal", "state"))
        self.directory = directory / "uplink"
        self.stop = asyncio.Event()
        self.bus_bell = Bell(Doorbell(theirs), self.stop)
        self.notes = []
        self.forwarder = Forwarder(
            sink,
            self.bus_bell,
            Link("the sink", self.bus_bell, lambda: 0.0),
            uplink=self.directory,
            lanes=lanes or {},
            budget=Budget(records_max, 1 << 20),
            meter=meter,
            backoff=Backoff(0.001, 0.01, lambda: 0.5),
            linger_s=0.0,
            probe_s=probe_s,
            cursor_interval_s=0.01,
            gap_topic="events",
            gateway="gw-1",
            wall_ns=lambda: 10**18,
        )

    async def run(self, condition):
        self.bus_bell.start()
        work = asyncio.create_task(self.forwarder.run())
        async with asyncio.timeout(10):
            while not condition():
                self.bell.send(self.feed.note())
                await asyncio.sleep(0.005)
                self.notes += self.bell.receive()
        await self.forwarder.finish_write()
        work.cancel()
        await asyncio.wait({work})
        await self.forwarder.close()
        self.notes += self.bell.receive()
        self.bus_bell.close()
        self.feed.close()

    def health(self):
        """The last one told."""
        return next((note.health for note in reversed(self.notes) if note.health is not None), Health("untold"))

    def waiting(self):
        return sum(lane.waiting_records for lane in self.health().figures.lanes.values())

    def states(self):
        return list(dict.fromkeys(note.health.state for note in self.notes if note.health is not None))


def all_of(sink, count):
    return lambda: len(sink.records) >= count


@pytest.mark.parametrize(
    "failures",
    [
        [],
        [(SinkAway("no answer"), False)],
        [(SinkAway("the answer was lost"), True)],
        [(SinkAgain("too slow"), False), (None, True), (SinkAgain("too slow"), True)],
        [(SinkAway("gone"), False)] * 5,
    ],
)
async def test_once_and_in_order_whatever_fails(tmp_path, failures):
    sink = MemorySink()
    sink.failures = list(failures)
    bench = Bench(tmp_path, sink)
    bench.feed.publish(["dev-1"], 500)
    bench.feed.publish(["dev-2"], 30, "state")
    await bench.run(all_of(sink, 530))
    assert [seq for lane, seq, _, _ in sink.records if lane == "normal"] == list(range(1, 501))
    assert [seq for lane, seq, _, _ in sink.records if lane == "state"] == list(range(1, 31))
    assert Cursor.load(bench.directory / "normal") == Cursor(bench.feed.log_id, 501)
    told = [note.forwarded["normal"] for note in bench.notes if "normal" in note.forwarded]
    assert told[-1] == 501
    assert told == sorted(told)


async def test_figures_tell_what_was_done_and_what_waits(tmp_path):
    sink = MemorySink()
    sink.failures = [(SinkAway("no answer"), False), (SinkAgain("too slow"), False)]
    bench = Bench(tmp_path, sink)
    bench.feed.publish(["dev-1"], 250)
    bench.feed.publish(["dev-2"], 30, "state")
    await bench.run(lambda: bench.health().forwarded_records == 280 and not bench.waiting())
    health = bench.health()
    figures = health.figures
    writes = figures.transactions_committed
    assert {name: lane.forwarded_records for name, lane in figures.lanes.items()} == {"normal": 250, "state": 30}
    assert all(lane.forwarded_bytes > 50 * lane.forwarded_records for lane in figures.lanes.values())
    assert (figures.transactions_aborted, figures.retries) == (2, 2)
    assert (figures.wire_bytes, figures.dead_letters) == (7 * writes, {"invalid-record": writes})
    assert (health.state, health.detail, health.last_error) == ("connected", "", "no answer")
    assert health.tried_what.startswith("to write ")


async def test_a_sink_that_is_away_leaves_the_backlog_in_the_figures(tmp_path):
    sink = MemorySink()
    sink.failures = [(SinkAway("no answer"), False)] * 10_000
    bench = Bench(tmp_path, sink)
    bench.feed.publish(["dev-1"], 40)
    await bench.run(lambda: bench.waiting() and bench.health().figures.retries > 3)
    lane = bench.health().figures.lanes["normal"]
    assert lane.waiting_records == 40
    assert 40 * 50 < lane.waiting_bytes < 40 * 500
    assert bench.health().figures.catch_up_s is None


async def test_a_lane_that_the_sink_holds_comes_again_and_the_others_go_on(tmp_path):
    class Holding(MemorySink):
        """Takes nothing of the lane `state` until it has been offered four times."""

        offers = 0

        async def write(self, batches):
            held = frozenset({"state"} if any(each.lane == "state" for each in batches) and self.offers < 4 else ())
            self.offers += bool(held)
            written = await super().write([each for each in batches if each.lane not in held])
            written.held, written.contested = held, len(held)
            return written

    sink = Holding()
    bench = Bench(tmp_path, sink)
    bench.feed.publish(["dev-1"], 250)
    bench.feed.publish(["dev-2"], 30, "state")
    await bench.run(lambda: bench.health().forwarded_records == 280 and not bench.waiting())
    assert [seq for lane, seq, _, _ in sink.records if lane == "normal"] == list(range(1, 251))
    assert [seq for lane, seq, _, _ in sink.records if lane == "state"] == list(range(1, 31))
    assert (sink.starts, sink.records[-1][0]) == (1, "state")
    assert bench.health().figures.transactions_aborted == 4
    assert Cursor.load(bench.directory / "state") == Cursor(bench.feed.log_id, 31)


async def test_an_idle_sink_that_is_gone_is_noticed(tmp_path):
    sink = MemorySink()
    bench = Bench(tmp_path, sink, probe_s=0.02)
    bench.feed.publish(["dev-1"], 1)

    def noticed():
        sink.gone = sink.probes >= 3 and "away" not in bench.states()
        return bench.states()[-2:] == ["connected", "away"] and bench.health().state == "connected"

    await bench.run(noticed)
    assert (len(sink.records), bench.health().last_error) == (1, "it is gone")


async def test_a_refusal_is_told_as_one_and_cured_without_a_restart(tmp_path):
    sink = MemorySink()
    sink.failures = [(SinkRefused("no right to do so"), False)] * 3
    bench = Bench(tmp_path, sink)
    bench.feed.publish(["dev-1"], 5)
    await bench.run(all_of(sink, 5))
    assert bench.states() == ["connected", "refused"], "and connected again, which is no new state here"
    assert bench.health().last_error == "no right to do so"


async def test_goes_on_by_the_cursor_where_the_sink_knows_nothing(tmp_path):
    first, second = MemorySink(), MemorySink()
    bench = Bench(tmp_path, first)
    bench.feed.publish(["dev-1"], 10)
    await bench.run(all_of(first, 10))
    bench = Bench(tmp_path, second)
    bench.feed.publish(["dev-1"], 5)
    await bench.run(all_of(second, 5))
    assert [seq for _, seq, _, _ in second.records] == [11, 12, 13, 14, 15]


@pytest.mark.parametrize("cursor_kept", [False, True])
async def test_what_the_disk_lost_hides_nothing_that_came_later(tmp_path, cursor_kept):
    sink = MemorySink()
    bench = Bench(tmp_path, sink)
    bench.feed.publish(["dev-1"], 10)
    await bench.run(all_of(sink, 10))
    lane = tmp_path / "uplink" / "normal"
    cursor = (lane / "cursor").read_bytes()
    shutil.rmtree(lane)
    if cursor_kept:
        lane.mkdir()
        (lane / "cursor").write_bytes(cursor)
    bench = Bench(tmp_path, sink)
    bench.feed.publish(["dev-1"], 5)
    await bench.run(all_of(sink, 15))
    found = [json.loads(payload)["n"] for _, _, _, payload in sink.records]
    assert found == [*range(1, 11), *range(1, 6)]
    begin = 11 if cursor_kept else 1
    assert [seq for _, seq, _, _ in sink.records[10:]] == list(range(begin, begin + 5))
    assert sink.positions["normal"] == begin + 5


async def test_fenced_forwarder_stays_and_says_so(tmp_path):
    sink = MemorySink()
    sink.failures = [(SinkFenced("another gateway"), False)]
    bench = Bench(tmp_path, sink)
    bench.feed.publish(["dev-1"], 5)
    await bench.run(lambda: "fenced" in bench.states())
    assert sink.records == []
    assert sink.starts == 1


async def test_damaged_records_become_a_gap_and_the_rest_goes_on(tmp_path):
    sink = MemorySink()
    bench = Bench(tmp_path, sink)
    for _ in range(4):
        bench.feed.publish(["dev-1"], 1)
    (segment,) = (bench.directory / "normal").glob("*.seg")
    data = bytearray(segment.read_bytes())
    at = data.index(b'"n": 2')
    data[at] ^= 1
    segment.write_bytes(data)
    await bench.run(all_of(sink, 4))
    gaps = [json.loads(payload) for _, _, kind, payload in sink.records if kind == EVENT]
    assert [seq for _, seq, kind, _ in sink.records if kind != EVENT] == [1, 3, 4]
    assert [(gap["type"], gap["first_seq"], gap["last_seq"], gap["count"]) for gap in gaps] == [("gap", 2, 2, 1)]
    assert gaps[0]["gateway"] == "gw-1"


def lane_that_dropped(directory, payloads):
    """A lane that has dropped its oldest segments; returns the position behind its last record."""
    (directory / "uplink").mkdir(parents=True)
    (directory / "uplink" / "LOG").write_text(LOG_ID.hex())
    lane = DroppingLane(directory / "uplink" / "normal", DROPPING)
    lane.commit(*payloads)
    lane.writer.close()
    return lane.writer.committed


@pytest.mark.parametrize("failures", [[], [(SinkAway("gone"), False)], [(SinkAway("the answer was lost"), True)]])
async def test_what_was_dropped_is_told_in_its_place_once(tmp_path, failures):
    committed = lane_that_dropped(tmp_path, [b"%d" % number + bytes(5_000) for number in range(300)])
    sink = MemorySink()
    sink.failures = list(failures)
    bench = Bench(tmp_path, sink)
    await bench.run(lambda: sink.positions.get("normal") == committed)
    gaps = [json.loads(payload) for _, _, kind, payload in sink.records if kind == EVENT]
    kept = [seq for _, seq, kind, _ in sink.records if kind != EVENT]
    told = [seq for gap in gaps for seq in range(gap["first_seq"], gap["last_seq"] + 1)]
    assert gaps
    assert kept
    assert told + kept == list(range(1, committed)), "gaps stand before what follows them, and nothing is in both"
    assert {(gap["device"], gap["route"], gap["reason"]) for gap in gaps} == {("dev-1", "telemetry", "queue-full")}
    assert all(gap["count"] == gap["last_seq"] - gap["first_seq"] + 1 for gap in gaps)
    assert gaps[0]["from"] == gaps[0]["to"] == "1970-01-01T00:00:00.000Z"


async def test_damage_before_what_was_dropped_is_told_apart(tmp_path):
    committed = lane_that_dropped(tmp_path, [bytes(5_000) for _ in range(300)])
    uplink = tmp_path / "uplink" / "normal"
    lost = sorted(uplink.glob("*.gap"))[0]
    lost.write_bytes(b"rubbish")
    sink = MemorySink()
    bench = Bench(tmp_path, sink)
    await bench.run(lambda: sink.positions.get("normal") == committed)
    gaps = [json.loads(payload) for _, _, kind, payload in sink.records if kind == EVENT]
    assert (gaps[0]["device"], gaps[1]["device"]) == (None, "dev-1")
    assert gaps[1]["first_seq"] == gaps[0]["last_seq"] + 1
    assert gaps[0]["first_seq"] == 1


async def test_bell_that_closes_ends_the_process(tmp_path):
    mine, theirs = doorbell.pair()
    stop = asyncio.Event()
    bell = Bell(Doorbell(theirs), stop)
    bell.start()
    mine.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), 5)
    assert stop.is_set()
    bell.close()


async def test_a_lane_that_lingers_waits_for_company_and_no_longer_than_it_may(tmp_path):
    sink = MemorySink()
    bench = Bench(tmp_path, sink, lanes={"normal": LaneSettings(linger=0.4, linger_bytes=1 << 20)})
    bench.feed.publish(["dev-1"], 1)
    bench.feed.publish(["dev-2"], 1, "state")
    begun = asyncio.get_running_loop().time()

    def all_there():
        if len(sink.writes) == 1 and bench.feed.written["dev-1"] == 1:
            bench.feed.publish(["dev-1"], 5)
        return len(sink.records) == 7

    await bench.run(all_there)
    assert asyncio.get_running_loop().time() - begun >= 0.4
    assert [sorted(lanes) for lanes in sink.writes] == [["state"], ["normal"]], "six records waited for each other"


async def test_enough_to_fill_a_batch_lingers_no_longer(tmp_path):
    sink = MemorySink()
    bench = Bench(tmp_path, sink, lanes={"normal": LaneSettings(linger=3600.0, linger_bytes=2_000)})
    bench.feed.publish(["dev-1"], 100)
    await bench.run(all_of(sink, 100))
    assert len(sink.records) == 100


async def test_metered_transactions_are_small_and_leave_what_one_lane_does_not_need_to_the_others(tmp_path):
    sink = MemorySink(wire_bytes=100)
    lanes = {"state": LaneSettings(weight=9)}
    bench = Bench(tmp_path, sink, lanes=lanes, meter=Meter(5_000, asyncio.get_running_loop().time()))
    bench.feed.publish(["dev-1"], 60, size=200)
    bench.feed.publish(["dev-2"], 1, "state")
    await bench.run(all_of(sink, 61))
    first = sink.writes[0]
    assert first["state"] == 1
    assert 10 < first["normal"] < 25, "nearly all of the 5,000 bytes"
    assert len(sink.writes) > 1
