"""The bound of all lanes together: kept, and no lane starves another."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bridge.log.settings import LogSettings
from bridge.log.total import Total
from tests.unit.log.lane import KIB, SMALL, Lane

TOTAL = 640 * KIB
ROOMY = msgspec.structs.replace(SMALL, max_bytes=8 * TOTAL)


def size_of(*lanes: Lane) -> int:
    """Of all their segments, in use and ready, bytes."""
    return sum(path.stat().st_size for lane in lanes for path in (*lane.segments(), *lane.spares()))


def test_two_lanes_share_a_bound_and_each_has_its_part(tmp_path: Path) -> None:
    total = Total(TOTAL)
    greedy = Lane(tmp_path / "greedy", ROOMY, total=total)
    modest = Lane(tmp_path / "modest", ROOMY, total=total)
    taken = greedy.fill(5_000)
    assert greedy.writer.shortage == f"total_max_bytes of {TOTAL} is reached by all lanes together"
    assert size_of(greedy, modest) <= TOTAL
    assert modest.fill(5_000) > 5, "its own two segments are there, whatever the other one takes"
    assert size_of(greedy, modest) <= TOTAL
    greedy.writer.forwarded(taken + 1)
    greedy.wait(lambda: not modest.writer.full)
    modest.commit(bytes(5_000))
    assert size_of(greedy, modest) <= TOTAL
    greedy.writer.close()
    modest.writer.close()


def test_a_lane_that_drops_makes_room_for_itself_alone(tmp_path: Path) -> None:
    total = Total(TOTAL)
    blocking = Lane(tmp_path / "blocking", ROOMY, total=total)
    dropping = Lane(tmp_path / "dropping", msgspec.structs.replace(ROOMY, drop_oldest=True), total=total)
    taken = blocking.fill(5_000)
    for _ in range(200):
        dropping.wait(lambda: not dropping.writer.full)
        dropping.commit(bytes(5_000))
    assert len(blocking.payloads(1)) == taken
    assert size_of(blocking, dropping) <= TOTAL
    blocking.writer.close()
    dropping.writer.close()


def test_segments_of_another_size_count_as_what_they_are(tmp_path: Path) -> None:
    lane = Lane(tmp_path, LogSettings(max_bytes=1 << 20, segment_bytes=128 * KIB))
    while len(lane.segments()) < 4:
        lane.commit(bytes(5_000))
    lane.writer.close()
    lane.settings = msgspec.structs.replace(SMALL, max_bytes=1 << 20)
    lane.open()
    lane.fill(5_000)
    assert lane.writer.shortage == "max_bytes of 1048576 is reached"
    assert size_of(lane) <= 1 << 20
    assert size_of(lane) > (1 << 20) - 2 * SMALL.segment_bytes
    lane.writer.close()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 40)), max_size=60))
def test_what_is_granted_never_exceeds_it(claims: list[tuple[str, int]]) -> None:
    total, used = Total(100), dict.fromkeys("abc", 0)
    for lane in used:
        total.join(lane, 20)
    for lane, size in claims:
        if total.claim(lane, used[lane], size):
            used[lane] += size
        else:
            used[lane] = 0
            total.uses(lane, 0)
        assert sum(max(size, 20) for size in used.values()) <= 100
