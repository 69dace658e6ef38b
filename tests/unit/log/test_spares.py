"""Spares: made ahead, taken back, never in the way."""

from __future__ import annotations

from pathlib import Path

from bridge.log.settings import LogSettings
from tests.unit.log.lane import KIB, SMALL, Lane


def fill(lane: Lane, segments: int) -> None:
    """Writes until there are so many."""
    while len(lane.segments()) < segments:
        lane.commit(bytes(5000))


def test_a_spare_is_written_out_ahead(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    lane.commit(b"x")
    lane.wait(lambda: len(lane.spares()) == SMALL.spare_segments)
    (spare,) = lane.spares()
    status = spare.stat()
    assert status.st_size == SMALL.segment_bytes
    assert status.st_blocks * 512 >= SMALL.segment_bytes
    assert not any(spare.read_bytes())
    lane.writer.close()


def test_forwarded_segments_come_back_and_surplus_is_given_back(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    fill(lane, 7)
    inodes = {path.stat().st_ino for path in lane.segments()[:4]}
    lane.writer.forwarded(lane.writer.committed)
    lane.wait(lambda: len(lane.segments()) == 1 and len(lane.spares()) == SMALL.spare_segments_max)
    assert {path.stat().st_ino for path in lane.spares()} & inodes
    first = lane.writer.next_seq
    fill(lane, 3)
    assert lane.payloads(first) == [bytes(5000)] * (lane.writer.committed - first)
    lane.writer.close()


def test_a_segment_goes_only_when_wholly_forwarded(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    fill(lane, 4)
    second = int(lane.segments()[1].stem)
    lane.writer.forwarded(second - 1)
    lane.writer.forwarded(second)
    lane.wait(lambda: len(lane.segments()) == 3)
    assert int(lane.segments()[0].stem) == second
    assert len(lane.payloads(second)) == lane.writer.committed - second
    lane.writer.close()


def test_the_newest_segment_stays(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    lane.commit(b"x")
    lane.writer.forwarded(2)
    lane.writer.forwarded(1000)
    lane.wait(lambda: len(lane.spares()) == 1)
    assert len(lane.segments()) == 1
    lane.writer.close()
    lane.open()
    assert lane.writer.next_seq == 2
    lane.writer.close()


def test_a_segment_that_somebody_removed_holds_nothing_up(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    fill(lane, 5)
    for path in lane.segments()[:2]:
        path.unlink()
    lane.writer.forwarded(lane.writer.committed)
    lane.wait(lambda: len(lane.segments()) == 1)
    assert lane.writer.shortage is None
    lane.writer.close()


def test_leftovers_of_a_crash_are_cleared(tmp_path: Path) -> None:
    (tmp_path / "spare.tmp").write_bytes(b"half written")
    (tmp_path / "spare-0000000003").write_bytes(bytes(100))
    (tmp_path / "spare-0000000007").write_bytes(b"rubbish " * (SMALL.segment_bytes // 8))
    lane = Lane(tmp_path)
    assert lane.spares() == [tmp_path / "spare-0000000007"]
    lane.commit(b"x")
    assert lane.payloads() == [b"x"]
    lane.writer.close()
    assert not (tmp_path / "spare.tmp").exists()
    lane.open()
    assert lane.payloads() == [b"x"]
    lane.writer.close()


def test_segments_of_another_size_are_read_and_then_given_back(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    fill(lane, 3)
    count = lane.writer.committed - 1
    lane.writer.close()
    lane.settings = LogSettings(max_bytes=1 << 20, segment_bytes=128 * KIB)
    lane.open()
    fill(lane, 5)
    assert lane.segments()[-1].stat().st_size == 128 * KIB
    assert len(lane.payloads()) == lane.writer.committed - 1 > count
    lane.writer.forwarded(lane.writer.committed)
    lane.wait(lambda: len(lane.segments()) == 1)
    assert {path.stat().st_size for path in lane.spares()} == {128 * KIB}
    lane.writer.close()
