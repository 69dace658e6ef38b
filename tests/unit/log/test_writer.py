"""LogWriter: what it reports, what it refuses, and that its state outlives it."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import pytest

from bridge.config import Commit
from bridge.log.errors import LogFailed, LogFull, RecordTooLarge
from bridge.log.record import Record
from bridge.log.settings import LogSettings
from tests.unit.log.lane import KIB, SMALL, Lane, message


class Sum:
    """A fold whose state is the sum of all payloads seen as numbers: any record missed or taken twice shows."""

    def __init__(self) -> None:
        self.total = 0
        self.threads: set[str] = set()

    def apply(self, effect: object) -> None:
        assert isinstance(effect, bytes)
        self.total += int(effect[-12:])
        self.threads.add(threading.current_thread().name)

    def checkpoint(self) -> bytes:
        return struct.pack("<q", self.total)

    def restore(self, payload: bytes) -> None:
        (self.total,) = struct.unpack("<q", payload)

    def replay(self, record: Record) -> None:
        self.total += int(record.payload[-12:])


def number(value: int, width: int = 1) -> bytes:
    return str(value).encode().zfill(width)


def test_the_first_position_is_one_and_numbers_have_no_holes(lane: Lane) -> None:
    assert (lane.writer.next_seq, lane.writer.committed) == (1, 1)
    assert lane.commit(b"a", b"b") == [1, 2]
    assert lane.commit(b"c") == [3]
    assert (lane.writer.next_seq, lane.writer.committed, lane.writer.pending_bytes) == (4, 4, 0)
    assert lane.tokens == [b"a", b"b", b"c"]
    assert lane.commits[-1] == 4


def test_nothing_is_committed_before_it_is_kicked(lane: Lane) -> None:
    lane.writer.append(message(b"waits"))
    assert lane.writer.pending_bytes == len(message(b"waits"))
    assert lane.writer.committed == 1
    lane.commit(b"second")
    assert lane.payloads() == [b"waits", b"second"]
    assert lane.tokens == [b"second"]


def test_a_record_on_the_disk_is_reported_only_afterwards(tmp_path: Path) -> None:
    seen: list[list[bytes]] = []
    lane = Lane(tmp_path)
    for turn in range(20):
        lane.commit(*[b"%d/%d" % (turn, each) for each in range(turn)], b"last")
        seen.append(lane.payloads())
        assert seen[-1][-1] == b"last"
        assert len(seen[-1]) == lane.writer.committed - 1
    lane.writer.close()


def test_closing_commits_what_is_pending(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    for each in range(100):
        lane.writer.append(message(b"%d" % each), token=each)
    lane.writer.close()
    assert lane.tokens == list(range(100))
    with pytest.raises(LogFailed, match="closed"):
        lane.writer.append(message(b"late"))
    lane.writer.close()
    lane.open()
    assert lane.writer.next_seq == 101
    assert lane.payloads() == [b"%d" % each for each in range(100)]
    lane.writer.close()


def test_a_new_start_goes_on_in_the_same_segment(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    for turn in range(5):
        lane.commit(b"%d" % turn)
        lane.writer.close()
        lane.open()
    assert len(lane.segments()) == 1
    assert lane.commit(b"5") == [6]
    assert lane.payloads() == [b"0", b"1", b"2", b"3", b"4", b"5"]
    lane.writer.close()


def test_a_record_that_fits_no_segment_is_refused_and_the_longest_is_not(lane: Lane) -> None:
    empty = len(message(b""))
    longest = lane.writer.max_record_bytes - empty
    with pytest.raises(RecordTooLarge):
        lane.writer.append(message(bytes(longest + 1)))
    for turn in range(6):
        lane.commit(b"small", bytes([turn]) * longest, b"small")
    assert [len(each) for each in lane.payloads()] == [5, longest, 5] * 6
    assert len(lane.segments()) > 2


def test_a_full_log_says_so_loses_nothing_and_recovers_by_itself(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    payloads = [(b"%d" % each).zfill(1000) for each in range(lane.fill(1000))]
    assert lane.writer.full
    with pytest.raises(LogFull, match="max_bytes"):
        lane.append(bytes(1000))
    assert not lane.failures
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= SMALL.max_bytes
    assert sum(map(len, payloads)) > SMALL.max_bytes // 2
    assert lane.payloads() == payloads
    lane.writer.forwarded(lane.writer.committed)
    lane.wait(lambda: not lane.writer.full)
    assert lane.commit(b"again") == [len(payloads) + 1]
    lane.wait(lambda: lane.writer.shortage is None)
    lane.writer.close()


def test_a_run_is_reported_when_its_last_record_is_on_the_disk(lane: Lane) -> None:
    run = [message(b"%d" % each) for each in range(5)]
    lane.writer.append(message(b"before"), token="before")
    lane.writer.append_run(run, sum(map(len, run)), "run")
    assert lane.writer.next_seq == 7
    lane.append(b"behind")
    lane.wait(lambda: lane.writer.committed == 8)
    assert lane.tokens == ["before", "run", b"behind"]
    assert lane.payloads() == [b"before", b"0", b"1", b"2", b"3", b"4", b"behind"]


def test_a_run_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    count = lane.fill(4000)
    run = [message(bytes(900)) for _ in range(lane.writer.max_run_bytes // 1000)]
    with pytest.raises(LogFull):
        lane.writer.append_run(run, sum(map(len, run)), "run")
    assert (lane.writer.next_seq, lane.writer.pending_bytes) == (count + 1, 0)
    assert lane.writer.full
    lane.writer.forwarded(lane.writer.committed)
    lane.wait(lambda: not lane.writer.full)
    lane.writer.append_run(run, sum(map(len, run)), "run")
    lane.writer.kick()
    lane.wait(lambda: lane.writer.committed == count + 1 + len(run))
    assert lane.tokens[-1] == "run"
    lane.writer.close()


def test_an_end_while_full_ends_and_reports_only_what_is_on_disk(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    lane.fill(1000)
    lane.writer.close()
    reported = len(lane.tokens)
    lane.open()
    assert len(lane.payloads()) >= reported
    lane.writer.close()


def test_below_the_floor_nothing_new_is_made(tmp_path: Path) -> None:
    lane = Lane(tmp_path, LogSettings(max_bytes=512 * KIB, segment_bytes=64 * KIB, free_space_floor=1 << 60))
    assert lane.writer.full
    assert lane.writer.shortage is not None
    assert "floor" in lane.writer.shortage
    with pytest.raises(LogFull, match="floor"):
        lane.writer.append(message(b"x"))
    assert (lane.writer.next_seq, lane.writer.pending_bytes) == (1, 0)
    lane.writer.close()


def test_company_shares_a_commit(tmp_path: Path) -> None:
    lane = Lane(tmp_path, LogSettings(max_bytes=512 * KIB, segment_bytes=64 * KIB, commit=Commit(max_delay=0.3)))
    for turn in range(5):
        lane.append(b"%d" % turn)
    lane.wait(lambda: lane.writer.committed == 6)
    assert lane.commits == [6]
    lane.writer.close()


def test_a_frame_is_bounded(tmp_path: Path) -> None:
    lane = Lane(tmp_path, LogSettings(max_bytes=1 << 20, segment_bytes=128 * KIB, commit=Commit(max_bytes=4 * KIB)))
    for _ in range(200):
        lane.writer.append(message(bytes(500)))
    lane.commit(b"last")
    steps = [after - before for before, after in zip([1, *lane.commits], lane.commits, strict=False)]
    assert max(steps) <= 4 * KIB // len(message(bytes(500)))
    lane.writer.close()


def test_the_fold_is_restored_from_the_last_segment(tmp_path: Path) -> None:
    fold = Sum()
    lane = Lane(tmp_path, fold=fold)
    for value in range(300):
        lane.commit(number(value, 600))
        assert fold.total == sum(range(value + 1))
    assert len(lane.segments()) > 2
    assert fold.threads == {f"commit {tmp_path.name}"}
    lane.writer.close()
    for path in lane.segments()[:-1]:
        path.unlink()
    restored = Sum()
    lane.open(restored)
    assert restored.total == sum(range(300))
    lane.writer.close()


def test_the_checkpoint_knows_nothing_of_records_still_pending(tmp_path: Path) -> None:
    lane = Lane(tmp_path, fold=Sum())
    for _ in range(300):
        lane.append(*[number(1, 200)] * 3)
    lane.wait(lambda: lane.writer.committed == 901)
    lane.writer.close()
    restored = Sum()
    lane.open(restored)
    assert restored.total == 900
    lane.writer.close()


def test_a_disk_that_fails_is_reported_once_and_nothing_more_is_taken(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    lane.commit(b"good")
    lane.wait(lambda: bool(lane.spares()))
    for spare in lane.spares():
        spare.unlink()  # so the next segment cannot be opened
    lane.fill(2000)
    lane.wait(lambda: bool(lane.failures))
    committed = lane.writer.committed
    assert committed == 1 + len(lane.tokens)
    with pytest.raises(LogFailed):
        lane.writer.append(message(b"more"))
    assert lane.writer.full
    lane.writer.close()
    assert len(lane.failures) == 1
    assert "spare" in str(lane.failures[0])
    lane.open()
    assert lane.payloads()[: committed - 1] == lane.tokens[: committed - 1]
    assert lane.commit(b"after") == [lane.writer.next_seq - 1]
    lane.writer.close()


def test_an_exception_of_the_callback_is_a_failure_not_a_silence(tmp_path: Path) -> None:
    class Refusing(Sum):
        def apply(self, effect: object) -> None:
            raise RuntimeError("a bug")

    lane = Lane(tmp_path, fold=Refusing())
    lane.append(b"1")
    lane.wait(lambda: bool(lane.failures))
    assert "a bug" in str(lane.failures[0])
    assert lane.tokens == []
    lane.writer.close()


def test_a_checkpoint_that_fits_no_segment_is_a_failure(tmp_path: Path) -> None:
    class Huge(Sum):
        def checkpoint(self) -> bytes:
            return bytes(64 * KIB)

    lane = Lane(tmp_path, fold=Huge())
    lane.append(b"1")
    lane.wait(lambda: bool(lane.failures))
    assert isinstance(lane.failures[0].error, RecordTooLarge)
    lane.writer.close()
