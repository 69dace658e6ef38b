"""The gateway's own dead-letter log: durable, bounded, found again, and told apart by their marks."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from bridge.bus_side.dead_letter_log import DeadLetterLog
from bridge.bus_side.letter import Letter, NotKept, decode_letter, encode_letter
from bridge.bus_side.refusal import Refusal
from bridge.bus_side.sink import LaneBatch
from bridge.log.cursor import Cursor
from bridge.log.dropped import dropped_in
from bridge.log.log_id import load_log_id
from bridge.log.record import MESSAGE, Record, RecordError, decode, encode_context
from tests.support.kafka.letters import letters_of

LOG_ID, BOOT_ID = bytes(16), bytes(range(16))
KIB = 1 << 10


def letter(seq, payload=b"x", context=None):
    context = encode_context("dev-1", "t", "telemetry") if context is None else context
    record = Record(seq, MESSAGE, 1, 7, 1_000, 2_000, BOOT_ID, context, b"", payload)
    refusal = Refusal("record-too-large", "far too large", 3)
    return Letter("gw-1", "normal", LOG_ID, record, "telemetry", refusal, "it is closed")


@pytest.fixture
def make_log(tmp_path):
    made = []

    def make(max_bytes=64 << 20):
        log = DeadLetterLog(
            tmp_path / "dead-letters",
            record_max_bytes=64 * KIB,
            max_bytes=max_bytes,
            event_topic="events",
            boot_id=BOOT_ID,
            wall_ns=lambda: 10**18,
        )
        made.append(log)
        return log

    yield make
    for log in made:
        log.close()


@pytest.mark.parametrize("context", [None, b"\xff\xff"])
def test_letter_comes_back_as_it_was(context):
    written = letter(7, b"payload", context)
    record = Record(1, 16, 0, 0, 0, 0, BOOT_ID, b"", b"", b"")
    data = encode_letter(written, 5)
    assert decode_letter(decode(data, 1, BOOT_ID)) == written
    with pytest.raises(RecordError):
        decode_letter(record)


def test_nothing_is_on_the_disk_before_the_first(make_log, tmp_path):
    make_log()
    assert not (tmp_path / "dead-letters").exists()


def test_kept_once_and_told_of_each_time_until_its_position_is_passed(make_log, tmp_path):
    log = make_log()
    first = asyncio.run(log.keep([letter(5), letter(6)]))
    again = asyncio.run(log.keep([letter(5), letter(6), letter(7)]))
    assert [each.record.seq for each in letters_of(tmp_path)] == [5, 6, 7]
    assert log.kept == 3
    ((lane, event),) = again
    said = json.loads(event.payload)
    assert (lane, said["type"], said["count"], said["first_seq"], said["last_seq"]) == (
        "normal", "dead-letters-kept", 3, 5, 7,
    )  # fmt: skip
    assert json.loads(first[0][1].payload)["count"] == 2
    assert log.holds(LOG_ID, "normal", 7)
    log.forget([LaneBatch("normal", [], 7)])
    assert not log.holds(LOG_ID, "normal", 6)
    assert log.holds(LOG_ID, "normal", 7)


def test_goes_on_behind_what_an_earlier_life_kept(make_log, tmp_path):
    asyncio.run(make_log().keep([letter(5)]))
    earlier = make_log()
    asyncio.run(earlier.keep([letter(6)]))
    assert [each.record.seq for each in letters_of(tmp_path)] == [5, 6]


def test_larger_than_any_that_was_expected(make_log, tmp_path):
    log = make_log()
    asyncio.run(log.keep([letter(1)]))
    asyncio.run(log.keep([letter(2, bytes(3 << 20))]))
    assert [len(each.record.payload) for each in letters_of(tmp_path)] == [1, 3 << 20]


def test_bounded_the_oldest_go_and_leave_word(make_log, tmp_path):
    log = make_log(max_bytes=1)  # so four segments, the least
    for seq in range(1, 101):
        asyncio.run(log.keep([letter(seq, bytes(60 * KIB))]))
    kept = [each.record.seq for each in letters_of(tmp_path)]
    assert kept == list(range(kept[0], 101))
    assert kept[0] > 1
    dropped = [each for _, each in dropped_in(tmp_path / "dead-letters")]
    assert sum(stream.count for each in dropped for stream in each.streams) == kept[0] - 1
    assert dropped[0].streams[0].device == "dev-1"


def test_what_had_to_go_is_told_until_kafka_knows(make_log, tmp_path):
    log = make_log(max_bytes=1)
    for seq in range(1, 41):
        asyncio.run(log.keep([letter(seq, bytes(60 * KIB))]))
    events = asyncio.run(log.keep([letter(40)]))  # the transaction failed, and is done again
    gaps = [json.loads(event.payload) for _, event in events[1:]]
    dropped = [each for _, each in dropped_in(tmp_path / "dead-letters")]
    assert {(gap["type"], gap["lane"], gap["device"]) for gap in gaps} == {("gap", "dead-letters", "dev-1")}
    assert sum(gap["count"] for gap in gaps) == sum(stream.count for each in dropped for stream in each.streams)
    log.forget([LaneBatch("normal", [], 41)])
    deadline = time.monotonic() + 20
    while dropped_in(tmp_path / "dead-letters"):
        assert time.monotonic() < deadline, "told, and still there"
        time.sleep(0.01)


def test_what_was_forwarded_after_all_makes_room(make_log, tmp_path):
    log, directory = make_log(max_bytes=1), tmp_path / "dead-letters"
    asyncio.run(log.keep([letter(seq, bytes(60 * KIB)) for seq in range(1, 21)]))
    Cursor.save(directory, load_log_id(directory), 21)
    for seq in range(21, 101):
        asyncio.run(log.keep([letter(seq, bytes(6 * KIB))]))
    assert dropped_in(directory) == []


def test_directory_that_cannot_be_made(make_log, tmp_path):
    (tmp_path / "dead-letters").write_text("a file")
    with pytest.raises(NotKept, match="dead-letters"):
        asyncio.run(make_log().keep([letter(1)]))
