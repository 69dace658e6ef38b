"""Recovery: whatever is found in the directory, writing goes on, and no number is given twice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from crc32c import crc32c

from bridge.log import quarantine
from bridge.log.cursor import NAME, Cursor
from bridge.log.errors import LogDamaged, LogTooNew
from bridge.log.reader import LogReader
from bridge.log.segment import FORMAT_ENCRYPTED, PAGE_BYTES, Header, segment_name
from bridge.log.settings import LogSettings
from tests.unit.log.lane import KIB, LOG_ID, SMALL, Lane, read_all
from tests.unit.log.test_reader import read_or_skip, spoil
from tests.unit.log.test_writer import Sum

PAYLOADS = [b"%d" % each for each in range(1, 6)]


@pytest.fixture
def stopped(tmp_path: Path) -> Lane:
    """A log of five records in five frames, closed."""
    lane = Lane(tmp_path)
    for payload in PAYLOADS:
        lane.commit(payload)
    lane.writer.close()
    return lane


def header_of_another_life() -> bytes:
    """As a crash would leave it, had a segment been renamed before its header was written."""
    return Header(SMALL.segment_bytes, LOG_ID, 1, 0, 5).encode() + b"old records" * 100


@pytest.mark.parametrize(
    "content",
    [b"", b"BUSBRLOG", bytes(PAGE_BYTES), bytes(SMALL.segment_bytes), header_of_another_life()],
    ids=["empty", "cut", "one page of zeros", "never written", "earlier life"],
)
def test_a_last_segment_that_never_held_anything_is_removed(stopped: Lane, content: bytes) -> None:
    (stopped.directory / segment_name(6)).write_bytes(content)
    stopped.open()
    assert stopped.commit(b"6") == [6]
    assert stopped.payloads() == [*PAYLOADS, b"6"]
    assert len(stopped.segments()) == 1
    stopped.writer.close()


def test_numbers_that_were_forwarded_are_not_given_again_where_the_disk_lost_their_records(stopped: Lane) -> None:
    Cursor.save(stopped.directory, LOG_ID, 9)
    for first, payloads in ((9, [b"9", b"10"]), (11, [b"11"])):
        stopped.open()
        assert stopped.commit(*payloads)[0] == first
        stopped.writer.close()
    assert stopped.payloads(9) == [b"9", b"10", b"11"]
    with pytest.raises(LogDamaged):
        stopped.payloads(1)


@pytest.mark.parametrize("log_id", [bytes(16), LOG_ID])
def test_a_cursor_says_so_where_there_is_no_segment_at_all_but_only_of_its_own_log(
    tmp_path: Path, log_id: bytes
) -> None:
    Cursor.save(tmp_path, log_id, 1_000)
    lane = Lane(tmp_path)
    first = 1_000 if log_id == LOG_ID else 1
    assert lane.commit(b"x") == [first]
    assert lane.payloads(first) == [b"x"]
    lane.writer.close()


def test_its_name_still_says_which_numbers_were_given(tmp_path: Path) -> None:
    (tmp_path / segment_name(1_000)).write_bytes(b"")
    lane = Lane(tmp_path)
    assert lane.commit(b"x") == [1_000]
    assert [each.seq for each in read_all(tmp_path, 1_001)] == [1_000]
    lane.writer.close()


def test_a_header_alone_is_an_empty_segment(stopped: Lane) -> None:
    (path,) = stopped.segments()
    path.write_bytes(path.read_bytes()[:PAGE_BYTES].ljust(SMALL.segment_bytes, b"\0"))
    lane = stopped
    assert lane.open().next_seq == 1
    assert lane.commit(b"new") == [1]
    assert lane.payloads() == [b"new"]
    lane.writer.close()


def test_a_garbled_header_leaves_the_segment_and_skips_its_numbers(stopped: Lane) -> None:
    (path,) = stopped.segments()
    spoil(path, 30)
    stopped.open()
    (following,) = stopped.commit(b"new")
    assert following > 5
    records, gaps, _ = read_or_skip(stopped)
    assert gaps == [(1, following)]
    assert [each.payload for each in records] == [b"new"]
    stopped.writer.close()


def test_a_segment_of_another_log_is_not_written_to(stopped: Lane) -> None:
    before = stopped.segments()[0].read_bytes()
    other = Header(SMALL.segment_bytes, b"?" * 16, 1, 0, 5).encode() + before[PAGE_BYTES:]
    stopped.segments()[0].write_bytes(other)
    stopped.open()
    assert stopped.commit(b"new")[0] > 5
    assert stopped.segments()[0].read_bytes() == other
    stopped.writer.close()


def test_damage_with_good_frames_behind_it_is_left_for_the_reader(stopped: Lane) -> None:
    (path,) = stopped.segments()
    content = path.read_bytes()
    spoil(path, content.index(b"telemetry3") + 9)
    spoilt = path.read_bytes()
    stopped.open()
    assert stopped.commit(b"6") == [6]
    assert path.read_bytes() == spoilt
    records, gaps, _ = read_or_skip(stopped)
    assert gaps == [(3, 4)]
    assert [each.payload for each in records] == [b"1", b"2", b"4", b"5", b"6"]
    stopped.writer.close()


def test_a_truncated_segment_is_read_as_far_as_it_goes(stopped: Lane) -> None:
    (path,) = stopped.segments()
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"telemetry5")])
    stopped.open()
    assert stopped.payloads() == PAYLOADS[:4]
    assert stopped.commit(b"again 5") == [5]
    assert stopped.payloads() == [*PAYLOADS[:4], b"again 5"]
    assert len(stopped.segments()) == 2
    stopped.writer.close()


def test_the_fold_is_restored_around_a_damaged_checkpoint(tmp_path: Path) -> None:
    lane = Lane(tmp_path, fold=Sum())
    while len(lane.segments()) < 3:
        lane.commit(b"1".zfill(5_000))
    lane.commit(b"1")
    count = lane.writer.committed - 1
    lane.writer.close()
    spoil(lane.segments()[-1], PAGE_BYTES + 50)
    fold = Sum()
    lane.open(fold)
    assert fold.total == count
    lane.writer.close()


def test_nothing_at_all_is_readable_and_it_starts_all_the_same(stopped: Lane) -> None:
    for number, path in enumerate([*stopped.segments(), stopped.directory / segment_name(700)]):
        path.write_bytes(bytes((number + each) % 251 + 1 for each in range(SMALL.segment_bytes)))
    (stopped.directory / NAME).write_bytes(b"?" * 5_000)
    assert Cursor.load(stopped.directory) is None
    stopped.open(Sum())
    (following,) = stopped.commit(b"7")
    assert following > 700
    records, gaps, _ = read_or_skip(stopped)
    assert gaps == [(1, 700), (700, following)]
    assert [each.payload for each in records] == [b"7"]
    stopped.writer.close()


def test_a_start_reads_the_last_segment_and_no_other(tmp_path: Path) -> None:
    (tmp_path / segment_name(5_000)).write_bytes(b"")
    lane = Lane(tmp_path, LogSettings(max_bytes=1 << 30, segment_bytes=64 * KIB), fold=Sum())
    lane.commit(b"1")
    lane.writer.close()
    for number in range(1, 1_000):  # to open one of these for reading would be an error
        (tmp_path / segment_name(number)).mkdir()
    begun = time.perf_counter()
    lane.open(Sum())
    assert time.perf_counter() - begun < 0.5
    assert lane.commit(b"2") == [5_001]
    lane.writer.close()


def test_a_reader_sees_what_a_restarted_writer_adds(stopped: Lane) -> None:
    reader = LogReader(stopped.directory, LOG_ID, 1)
    assert len(reader.read(6, 100, 10_000)) == 5
    for number in range(6, 20):
        stopped.open()
        stopped.commit(b"%d" % number)
        stopped.writer.close()
        assert [each.payload for each in reader.read(number + 1, 100, 10_000)] == [b"%d" % number]


def kept(lane: Lane) -> dict[str, bytes]:
    """What is in the lane's quarantine."""
    return {path.name: path.read_bytes() for path in (lane.directory / quarantine.NAME).glob("*")}


def test_damage_is_kept_in_quarantine_counted_and_said(stopped: Lane, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = stopped.segments()
    content = path.read_bytes()
    spoil(path, content.index(b"telemetry3") + 9)
    spoilt = path.read_bytes()
    for _ in range(2):  # the second start, with nothing written in between, finds the same and keeps it once
        stopped.open()
        assert stopped.writer.damages == 1
        stopped.writer.close()
    ((name, damaged),) = kept(stopped).items()
    at = int(name.removesuffix(".bin").partition("-")[2])
    assert spoilt[at : at + len(damaged)] == damaged
    assert b"telemetry" in damaged
    assert f"{path} is damaged at bytes {at} to {at + len(damaged) - 1}: a gap will say" in caplog.text


def test_a_whole_segment_in_quarantine_is_not_written_over(stopped: Lane) -> None:
    (path,) = stopped.segments()
    spoil(path, 30)
    content = path.read_bytes()
    stopped.open()
    stopped.commit(b"new")
    stopped.writer.forwarded(stopped.writer.committed)
    stopped.wait(lambda: len(stopped.segments()) == 1)
    while len(stopped.segments()) < 4:
        stopped.commit(bytes(5_000))
    assert kept(stopped) == {path.name: content}
    stopped.writer.close()


def test_the_quarantine_is_bounded(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    lane.writer.close()
    for number in range(quarantine.FILES_MAX + 3):
        (tmp_path / segment_name(1_000_000 * number + 1)).write_bytes(b"?" * SMALL.segment_bytes)
        lane.open()
        lane.writer.close()
    assert len(kept(lane)) == quarantine.FILES_MAX
    assert segment_name(1) not in kept(lane)


def test_a_disk_that_takes_no_quarantine_does_not_stand_in_the_way(
    stopped: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    (stopped.directory / quarantine.NAME).write_bytes(b"a file where the directory should be")
    spoil(stopped.segments()[0], 30)
    stopped.open()
    assert stopped.commit(b"new")
    assert "cannot be kept in quarantine" in caplog.text
    stopped.writer.close()


def test_a_segment_of_a_later_format_is_for_a_person_to_decide(stopped: Lane) -> None:
    (path,) = stopped.segments()
    content = bytearray(path.read_bytes())
    content[8:12] = (FORMAT_ENCRYPTED + 1).to_bytes(4, "little")
    content[64:68] = crc32c(bytes(content[:64])).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(LogTooNew, match=r"has format version 3, this program knows 2: install"):
        stopped.open()
    assert path.read_bytes() == content
    path.unlink()
    assert stopped.open().next_seq == 1
    stopped.writer.close()


def test_a_copy_of_a_segment_under_another_name_is_kept_aside(stopped: Lane, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = stopped.segments()
    copy = stopped.directory / segment_name(6)
    copy.write_bytes(path.read_bytes())
    stopped.open()
    assert stopped.commit(b"6") == [6]
    assert stopped.payloads() == [*PAYLOADS, b"6"]
    assert kept(stopped).keys() == {copy.name}
    assert f"{copy} has the header of another segment" in caplog.text
    stopped.writer.close()


def test_a_segment_of_another_log_and_an_empty_one_are_told_of(stopped: Lane, caplog: pytest.LogCaptureFixture) -> None:
    other = Header(SMALL.segment_bytes, b"?" * 16, 6, 0, 5).encode() + stopped.segments()[0].read_bytes()[PAGE_BYTES:]
    foreign, empty = stopped.directory / segment_name(6), stopped.directory / segment_name(7)
    foreign.write_bytes(other)
    empty.write_bytes(b"")
    stopped.open()
    assert f"{foreign} belongs to another log ({(b'?' * 16).hex()}, this one is {LOG_ID.hex()})" in caplog.text
    assert f"{empty} is empty" in caplog.text
    stopped.commit(b"new")
    records, gaps, _ = read_or_skip(stopped)
    assert [each.payload for each in records] == [*PAYLOADS, b"new"]
    assert len(gaps) == 1
    assert kept(stopped) == {foreign.name: other}
    stopped.writer.close()


@pytest.mark.parametrize("content", [b"", bytes(SMALL.segment_bytes), b"BUSBRLOG" + bytes(5_000)])
def test_a_segment_in_the_middle_that_is_not_one_is_a_gap(tmp_path: Path, content: bytes) -> None:
    lane = Lane(tmp_path)
    while len(lane.segments()) < 4:
        lane.commit(bytes(5_000))
    lane.writer.close()
    first, second, third, _ = (int(path.stem) for path in lane.segments())
    lane.segments()[1].write_bytes(content)
    lane.open()
    records, gaps, _ = read_or_skip(lane)
    assert gaps == [(second, third)]
    assert [each.seq for each in records] == [*range(first, second), *range(third, lane.writer.committed)]
    lane.writer.close()
