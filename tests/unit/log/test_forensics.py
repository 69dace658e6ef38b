"""Forensics on logs that were damaged in every way that has a name, and by single bits anywhere."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.log.boot_clocks import BootClocks
from bridge.log.cursor import Cursor
from bridge.log.dropped import Dropped
from bridge.log.forensics import LaneFiles, LaneWalk, faults, find_lanes
from bridge.log.forensics_segment import Damage, Piece, SegmentImage
from bridge.log.segment import PAGE_BYTES, Header, decode_header
from bridge.log.settings import LogSettings
from tests.unit.log.lane import KIB, LOG_ID, Lane

OTHER_LOG = bytes(16)


class Site:
    """A closed log of three segments, as a stopped gateway leaves it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        lane = Lane(directory / "normal")
        while len(lane.segments()) < 3:
            lane.commit(b"%d " % lane.writer.next_seq * 700, b"short", b"")
        lane.commit(b"the last")
        self.segments = lane.segments()
        self.end = lane.writer.committed
        lane.writer.close()
        (directory / "LOG").write_text(LOG_ID.hex() + "\n")
        Cursor.save(directory / "normal", LOG_ID, 5)

    @property
    def lane(self) -> LaneFiles:
        [lane] = find_lanes(self.directory)
        return lane


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("shared"))


def examine(lane: LaneFiles, *, live: bool = False) -> tuple[list[int], list[Damage]]:
    """The numbers of the good records, and everything that is wrong."""
    walk = LaneWalk(lane, live=live)
    found = list(walk)
    seqs = [record.seq for item in found if isinstance(item, Piece) for record in item.records]
    return seqs, [*(item for item in found if isinstance(item, Damage)), *faults(lane, walk)]


def patch(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def pieces(path: Path) -> list[Piece]:
    return [each for each in SegmentImage(path, int(path.stem), None).pieces(None, live=False) if type(each) is Piece]


def test_an_undamaged_log_is_read_whole(site):
    assert examine(site.lane) == (list(range(1, site.end)), [])


def test_a_walk_begins_with_the_segment_asked_for(site):
    first = int(site.segments[1].stem)
    walk = LaneWalk(site.lane, since=first + 1)
    assert [r.seq for item in walk if isinstance(item, Piece) for r in item.records] == list(range(first, site.end))


def test_it_finds_lanes_below_a_data_directory_an_uplink_and_in_a_lane(tmp_path):
    for name in ("data/uplink/a", "data/uplink/b", "data/downlink"):
        (tmp_path / name).mkdir(parents=True)
        Cursor.save(tmp_path / name, LOG_ID, 1)
    (tmp_path / "data/uplink/LOG").write_text(LOG_ID.hex())
    found = find_lanes(tmp_path / "data")
    assert [(lane.name, lane.log_id) for lane in found] == [("a", LOG_ID), ("b", LOG_ID), ("downlink", None)]
    assert [lane.name for lane in find_lanes(tmp_path / "data/uplink")] == ["a", "b"]
    assert [(lane.name, lane.log_id) for lane in find_lanes(tmp_path / "data/uplink/b")] == [("b", LOG_ID)]
    assert find_lanes(tmp_path) == []
    assert find_lanes(tmp_path / "nothing") == []


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bit_is_missed_in_one_place_and_the_rest_is_read(shared, data):
    path = data.draw(st.sampled_from(shared.segments))
    piece = data.draw(st.sampled_from([None, *pieces(path)]))
    start, size = (0, 68) if piece is None else (piece.offset, piece.size)
    offset, bit = start + data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 7))
    before = path.read_bytes()[offset]
    patch(path, offset, bytes([before ^ 1 << bit]))
    try:
        seqs, damages = examine(shared.lane)
    finally:
        patch(path, offset, bytes([before]))
    assert damages
    assert {damage.path for damage in damages} == {path}
    assert damages[0].offset in (start, 0, 8, 24, 40)
    lost = set(range(1, shared.end)) - set(seqs)
    assert lost == {record.seq for record in (piece.records if piece else ())}
    assert piece is None or damages[0].offset == piece.offset
    assert damages[0].first_seq == min(lost, default=int(path.stem))
    assert seqs == sorted(set(seqs))


def header(path: Path, **change: object) -> bytes:
    known = decode_header(path.read_bytes())
    assert known is not None
    fields = {name: getattr(known, name) for name in known.__struct_fields__}
    return Header(**{**fields, **change}).encode()


def of_a_later_version(path: Path) -> bytes:
    fields = path.read_bytes()[:8] + b"\3\0\0\0" + path.read_bytes()[12:64]
    return fields + crc32c(fields).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("harm", "offset", "said"),
    [
        (lambda path: path.write_bytes(b""), 0, "is empty"),
        (lambda path: os.truncate(path, 100), 100, "ends within its header"),
        (lambda path: patch(path, 0, b"SOMETHING ELSE" * 9), 0, "does not begin as a segment does"),
        (lambda path: patch(path, 0, of_a_later_version(path)), 8, "format version 3, this busbridge knows 2"),
        (lambda path: patch(path, 0, header(path, log_id=OTHER_LOG)), 24, f"another log, {OTHER_LOG.hex()}"),
        (lambda path: patch(path, 0, header(path, first_seq=7)), 40, "begins with record 7"),
        (lambda path: patch(path, 60, b"\xff" * 8), 0, "its header is damaged"),
    ],
)
def test_a_header_that_is_not_the_right_one(site, harm: Callable[[Path], None], offset, said):
    path, following = site.segments[1], int(site.segments[2].stem)
    harm(path)
    seqs, damages = examine(site.lane)
    [damage] = damages
    assert (damage.path, damage.offset, damage.first_seq, damage.next_seq) == (path, offset, int(path.stem), following)
    assert said in str(damage)
    assert seqs == [*range(1, int(path.stem)), *range(following, site.end)]


@pytest.mark.parametrize("at", [50, 65])
def test_a_garbled_header_that_still_gives_the_seed_costs_no_record(site, at):
    patch(site.segments[1], at, b"\xff\xff")
    seqs, [damage] = examine(site.lane)
    assert seqs == list(range(1, site.end))
    assert "its header is damaged; no records lost" in str(damage)


def test_a_missing_segment_is_told_with_its_records(site):
    first, missing, last = site.segments
    missing.unlink()
    seqs, [damage] = examine(site.lane)
    assert (damage.path, damage.first_seq, damage.next_seq) == (first, int(missing.stem), int(last.stem))
    assert damage.offset > PAGE_BYTES
    assert seqs == [*range(1, int(missing.stem)), *range(int(last.stem), site.end)]


@pytest.mark.parametrize("which", [0, 1])
def test_what_the_writer_dropped_and_wrote_down_is_no_damage(site, which):
    gone, following = site.segments[which], site.segments[which + 1]
    dropped = Dropped.of_segment(gone.parent, LOG_ID, int(gone.stem), int(following.stem), "queue-full", BootClocks())
    dropped.save(gone.parent)
    gone.unlink()
    seqs, damages = examine(site.lane)
    assert damages == []
    assert seqs == [seq for seq in range(1, site.end) if not int(gone.stem) <= seq < int(following.stem)]


def test_records_that_are_there_twice(site):
    path = site.segments[2].with_name(f"{int(site.segments[2].stem) - 2:020d}.seg")
    path.write_bytes(header(site.segments[2], first_seq=int(path.stem)) + bytes(60 << 10))
    _, damages = examine(site.lane)
    assert any("there twice" in str(damage) for damage in damages)


def test_a_segment_cut_off_in_its_middle(site):
    path = site.segments[0]
    piece = pieces(path)[7]
    os.truncate(path, piece.offset + 50)
    seqs, [damage] = examine(site.lane)
    assert (damage.offset, damage.first_seq) == (piece.offset, piece.records[0].seq)
    assert "cannot" not in str(damage)
    assert "says it is" in str(damage)
    assert seqs[-1] == site.end - 1


def test_a_segment_that_lost_only_zeros_lost_no_record(site):
    os.truncate(site.segments[2], 3 * PAGE_BYTES + pieces(site.segments[2])[-1].offset)
    seqs, [damage] = examine(site.lane)
    assert "bytes instead of" in str(damage)
    assert "no records lost" in str(damage)
    assert seqs == list(range(1, site.end))


def test_an_unfinished_write_is_told_unless_it_may_be_going_on(site):
    last = pieces(site.segments[2])[-1]
    patch(site.segments[2], last.offset + last.size - 1, b"\xff")
    seqs, [damage] = examine(site.lane)
    assert (damage.offset, damage.first_seq, damage.next_seq) == (last.offset, site.end - 1, None)
    assert "unfinished" in str(damage)
    assert "nothing readable is behind it" in str(damage)
    assert seqs == list(range(1, site.end - 1))
    Cursor.save(site.directory / "normal", LOG_ID, 5)
    assert examine(site.lane, live=True) == (seqs, [])


def test_what_an_earlier_life_left_in_a_file_is_no_damage(tmp_path):
    lane = Lane(tmp_path / "normal")
    for _ in range(3):
        while len(lane.segments()) < 4:
            lane.commit(*[b"x" * 1500] * 5)
        lane.writer.forwarded(lane.writer.committed)
        lane.wait(lambda: len(lane.segments()) == 1)
    lane.commit(b"the last")
    lane.writer.close()
    (tmp_path / "LOG").write_text(LOG_ID.hex())
    seqs, damages = examine(find_lanes(tmp_path)[0])
    assert damages == []
    assert seqs[-1] == lane.writer.committed - 1


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda lane: (lane / "cursor").write_bytes(b"x" * 9000), "no slot of the cursor is whole"),
        (lambda lane: Cursor.save(lane, OTHER_LOG, 5), f"another log, {OTHER_LOG.hex()}"),
        (lambda lane: Cursor.save(lane, LOG_ID, 100_000), "the cursor is ahead of the log"),
        (lambda lane: sorted(lane.glob("*.seg"))[0].unlink(), "the segment that the cursor points to is gone"),
        (lambda lane: (lane.parent / "LOG").write_text("?"), "the log's id is gone or garbled"),
    ],
)
def test_what_stands_beside_the_segments(site, harm: Callable[[Path], None], said):
    harm(site.directory / "normal")
    _, [damage] = examine(site.lane)
    assert said in str(damage)


def test_a_log_that_is_written_to_reads_as_whole(tmp_path):
    lane = Lane(tmp_path / "normal", LogSettings(max_bytes=4 << 20, segment_bytes=512 * KIB))
    (tmp_path / "LOG").write_text(LOG_ID.hex())
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            lane.append(*[b"x" * 3000] * 5)
            lane.writer.forwarded(lane.writer.committed)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        lane.wait(lambda: len(lane.segments()) > 1)
        read = 0
        for _ in range(60):
            seqs, damages = examine(find_lanes(tmp_path)[0], live=True)
            assert damages == []
            assert seqs == sorted(set(seqs))
            read += len(seqs)
        assert read
    finally:
        ended.set()
        writing.join()
        lane.writer.close()


def test_segments_that_vanish_under_a_daemon_are_left_out(site):
    copy = Path(tempfile.mkdtemp(dir=site.directory.parent))
    shutil.copytree(site.directory / "normal", copy / "normal")
    shutil.copy(site.directory / "LOG", copy)
    [lane] = find_lanes(copy)
    walk = iter(LaneWalk(lane, live=True))
    next(walk)
    for path in (copy / "normal").glob("*.seg"):
        path.unlink()
    assert [item for item in walk if isinstance(item, Damage)] == []
    assert list(LaneWalk(lane, live=True)) == []
