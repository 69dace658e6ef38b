"""Lanes by weight: what is live and worth more overtakes a backlog, and the backlog goes on all the while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from bridge.bus_side.sink import LaneBatch, Written
from bridge.config import Lane
from bridge.log.errors import LogFull
from tests.support.kafka.feed import Feed, message
from tests.unit.bus_side.test_forwarder import Bench, MemorySink

BACKLOG, SIZE = 4_000, 16 << 10
"""64 MB of bulk: a transaction here carries 1 MB at the most, so dozens of them."""
LIVE = 8


class Counting(MemorySink):
    """Keeps how many records of each lane came in each write, and not the records; takes its time, as Kafka does."""

    async def write(self, batches: Sequence[LaneBatch]) -> Written:
        await asyncio.sleep(0.02)
        for batch in batches:
            self.positions[batch.lane] = batch.position
        self.writes.append({batch.lane: len(batch.records) for batch in batches})
        return Written(self.writes[-1], 0, {})


def pile_up(feed: Feed) -> None:
    """The backlog, as fast as segments can be made."""
    for number in range(BACKLOG):
        while True:
            try:
                feed.append(message("bulk", b"%d" % number + bytes(SIZE), "telemetry"))
                break
            except LogFull:
                time.sleep(0.002)
        if number % 50 == 49:
            feed.sync()


async def test_a_live_alarm_overtakes_a_backlog_and_does_not_stop_it(tmp_path: Path) -> None:
    sink = Counting()
    bench = Bench(tmp_path, sink, lanes={"normal": Lane(weight=1), "state": Lane(weight=8)})
    pile_up(bench.feed)
    published: list[int] = []

    def live() -> bool:
        """A few alarms now and then, while the backlog is on its way."""
        if len(published) < LIVE and len(sink.writes) >= 3 * len(published) + 5:
            published.append(len(sink.writes))
            bench.feed.publish(["alarm"], 3, "state")
        return len(published) == LIVE and sink.positions.get("state") == 3 * LIVE + 1

    await bench.run(live)
    assert sink.positions["normal"] < BACKLOG, "the alarms were through before the backlog was"
    carried = [number for number, lanes in enumerate(sink.writes) if lanes.get("state")]
    assert sum(sink.writes[number]["state"] for number in carried) == 3 * LIVE
    for when in published:
        assert any(when <= number <= when + 4 for number in carried), "it waited for the backlog"
    assert all(lanes.get("normal") for lanes in sink.writes), "the backlog stood still"


async def test_two_backlogs_share_a_transaction_by_weight(tmp_path: Path) -> None:
    sink = Counting()
    bench = Bench(tmp_path, sink, lanes={"normal": Lane(weight=1), "state": Lane(weight=4)})
    bench.feed.publish(["bulk"], 600)
    bench.feed.publish(["alarm"], 600, "state")
    await bench.run(lambda: sink.positions.get("normal") == sink.positions.get("state") == 601)
    both = [lanes for lanes in sink.writes if lanes.get("normal") and lanes.get("state")]
    assert both[0] == {"normal": 20, "state": 80}
