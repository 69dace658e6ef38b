"""`queue.encrypt`: nothing of what devices sent can be found on the disk, and nothing that was changed is believed."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import msgspec
import pytest
from crc32c import crc32c

from bridge.log.boot_clocks import BootClock
from bridge.log.dropped import dropped_in
from bridge.log.errors import LogDamaged, LogKeyMissing
from bridge.log.forensics import LaneFiles, LaneWalk, faults
from bridge.log.forensics_segment import Damage, Piece
from bridge.log.queue_key import KEY_BYTES, NONCE_BYTES, Keyring, QueueKey
from bridge.log.reader import LogReader
from bridge.log.segment import FRAME_BYTES, PAGE_BYTES, decode_frame, decode_header
from tests.unit.log.lane import LOG_ID, SMALL, Lane, read_all

OLD, NEW = QueueKey(b"o" * KEY_BYTES), QueueKey(b"n" * KEY_BYTES)
KEYS = Keyring(OLD)
DROPPING = msgspec.structs.replace(SMALL, drop_oldest=True)
PLANTED = b"planted payload"
TOLD = (PLANTED, b"dev-1", b"devices/dev-1/t", b"telemetry")
"""What the lane's records have: payload, device, MQTT topic, Kafka topic."""


class Counting:
    """A fold whose state is to be covered too."""

    def apply(self, effect: object) -> None:
        """Nothing depends on it."""

    def checkpoint(self) -> bytes:
        return PLANTED

    def restore(self, payload: bytes) -> None:
        assert payload == PLANTED

    def replay(self, record: object) -> None:
        """Nothing depends on it."""


def told_in(directory: Path) -> set[tuple[str, bytes]]:
    """Which files have which of these."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert any(path.suffix == ".seg" for path in files)
    return {(path.name, word) for path in files for word in TOLD if word in path.read_bytes()}


def fill(lane: Lane, segments: int) -> None:
    while len(lane.segments()) < segments:
        lane.commit(PLANTED * 300)


def test_nothing_is_found_on_the_disk_whatever_became_of_it(tmp_path: Path) -> None:
    lane = Lane(tmp_path, DROPPING, Counting(), keys=KEYS)
    lane.commit(PLANTED)
    lane.writer.tell_clock(lane.boot_id, BootClock(5, 0), 7)
    fill(lane, 4)
    lane.writer.forwarded(int(lane.segments()[1].stem))
    while not dropped_in(tmp_path):
        lane.commit(PLANTED * 300)
    lane.writer.close()
    last = lane.segments()[-1]
    spoiled = bytearray(last.read_bytes())
    spoiled[PAGE_BYTES + 60] ^= 1  # for the quarantine
    last.write_bytes(spoiled)
    lane.open(Counting())
    lane.writer.close()
    assert list(tmp_path.glob("quarantine/*"))
    assert told_in(tmp_path) == set()
    assert dropped_in(tmp_path)[0][1].streams == []
    assert [stream.device for stream in dropped_in(tmp_path, KEYS)[0][1].streams] == ["dev-1"]


def test_it_is_read_by_its_key_and_goes_on_in_the_same_segment(tmp_path: Path) -> None:
    lane = Lane(tmp_path, fold=Counting(), keys=KEYS)
    for number in range(4):
        lane.commit(b"%d" % number, PLANTED)
        lane.writer.close()
        lane.open(Counting())
    assert len(lane.segments()) == 1
    assert lane.payloads() == [each for number in range(4) for each in (b"%d" % number, PLANTED)]
    assert [each.payload for each in read_all(tmp_path, lane.writer.committed, 4, KEYS)] == lane.payloads()[3:]
    lane.writer.close()


@pytest.mark.parametrize("keys", [Keyring(), Keyring(NEW), None])
def test_without_its_key_it_does_not_start_and_is_not_read_as_damage(tmp_path: Path, keys: Keyring | None) -> None:
    lane = Lane(tmp_path, keys=KEYS)
    lane.commit(b"x")
    lane.writer.close()
    before = lane.segments()[0].read_bytes()
    lane.keys = keys
    with pytest.raises(LogKeyMissing, match=OLD.id.hex()) as refused:
        lane.open()
    assert "\n" not in str(refused.value)
    with pytest.raises(LogKeyMissing):
        LogReader(tmp_path, LOG_ID, 1, keys).read(2, 1, 1000)
    assert lane.segments()[0].read_bytes() == before


def test_a_new_key_writes_a_new_segment_and_the_old_one_still_opens_the_old(tmp_path: Path) -> None:
    lane = Lane(tmp_path, keys=KEYS)
    lane.commit(b"old")
    lane.writer.close()
    lane.keys = Keyring(NEW, [OLD])
    lane.open()
    lane.commit(b"new")
    assert lane.payloads() == [b"old", b"new"]
    lane.writer.close()
    found = [decode_header(path.read_bytes()) for path in lane.segments()]
    assert [header.key_id for header in found if header is not None] == [OLD.id, NEW.id]
    assert [each.payload for each in read_all(tmp_path, 3, 2, Keyring(None, [NEW]))] == [b"new"]


def test_a_plain_queue_that_is_to_be_encrypted_begins_a_segment_and_reuses_no_plain_one(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    fill(lane, 4)
    lane.writer.forwarded(int(lane.segments()[-1].stem))
    lane.wait(lambda: len(lane.segments()) == 1 and len(lane.spares()) == SMALL.spare_segments_max)
    lane.writer.close()
    assert any(PLANTED in path.read_bytes() for path in lane.spares())
    lane.keys = KEYS
    first = lane.open().next_seq
    fill(lane, 2)
    lane.writer.forwarded(first)
    lane.wait(lambda: int(lane.segments()[0].stem) == first)
    lane.wait(lambda: len(lane.spares()) > 0)
    lane.writer.close()
    assert told_in(tmp_path) == set()


def test_and_back_again(tmp_path: Path) -> None:
    lane = Lane(tmp_path, keys=KEYS)
    lane.commit(b"sealed")
    lane.writer.close()
    lane.keys = Keyring(None, [OLD])
    lane.open()
    lane.commit(PLANTED)
    assert lane.payloads() == [b"sealed", PLANTED]
    lane.writer.close()
    assert [name for name, word in told_in(tmp_path) if word == PLANTED] == [lane.segments()[-1].name]


def whole(directory: Path) -> tuple[Lane, bytes, int, int]:
    """A closed lane of three frames; its file, and where the second begins and ends."""
    lane = Lane(directory, keys=KEYS)
    lane.commit(b"first")
    lane.commit(b"second", b"third")
    lane.commit(b"fourth")
    lane.writer.close()
    data = lane.segments()[0].read_bytes()
    header = decode_header(data)
    assert header is not None
    at, seq = PAGE_BYTES, 1
    while True:
        frame = decode_frame(data, at, header.seed, seq)
        assert frame is not None
        if frame.count == 2:
            return lane, data, frame.at, frame.end
        at, seq = frame.next_at, frame.next_seq


def refresh(data: bytearray, at: int, end: int) -> None:
    """The frame's checksum, as somebody would put it right who has no key."""
    header = decode_header(bytes(data))
    assert header is not None
    data[at : at + 4] = struct.pack("<I", crc32c(bytes(data[at + 4 : end]), header.seed))


def test_any_bit_that_was_changed_is_found_even_with_its_checksum_put_right(tmp_path: Path) -> None:
    lane, data, at, end = whole(tmp_path)
    path = lane.segments()[0]
    for where in [at + 24, *range(at + FRAME_BYTES, end)]:  # the boot id, the nonce, what is encrypted, the tag
        changed = bytearray(data)
        changed[where] ^= 1 << where % 8
        refresh(changed, at, end)
        path.write_bytes(changed)
        reader = LogReader(tmp_path, LOG_ID, 1, KEYS)
        assert [each.payload for each in reader.read(5, 100, 1000)] == [b"first"]
        with pytest.raises(LogDamaged, match="its seal does not match"):
            reader.read(5, 100, 1000)
        assert reader.skip_damage(5) == (2, 4)
        assert [each.payload for each in reader.read(5, 100, 1000)] == [b"fourth"]
        reader.close()
    lane.open()
    assert (lane.writer.next_seq, lane.writer.damages) == (5, 1)
    lane.writer.close()


def test_a_frame_of_another_life_does_not_open_with_the_same_key(tmp_path: Path) -> None:
    lane, data, at, end = whole(tmp_path / "one")
    _, other, other_at, other_end = whole(tmp_path / "other")
    assert (at, end) == (other_at, other_end)
    changed = bytearray(data)
    changed[at:end] = other[at:end]
    refresh(changed, at, end)
    lane.segments()[0].write_bytes(changed)
    with pytest.raises(LogDamaged, match="its seal does not match"):
        LogReader(lane.directory, LOG_ID, 2, KEYS).read(5, 100, 1000)


def test_a_torn_tail_that_is_written_anew_has_another_nonce(tmp_path: Path) -> None:
    first = Lane(tmp_path / "first", keys=KEYS)
    first.commit(b"before")
    first.writer.close()
    shutil.copytree(tmp_path / "first", tmp_path / "second")  # the same segment, the same key, the same next number
    nonces = set()
    for name in ("first", "second"):
        lane = Lane(tmp_path / name, keys=KEYS)
        lane.commit(b"after, in %s" % name.encode())
        lane.writer.close()
        data = lane.segments()[-1].read_bytes()
        header = decode_header(data)
        assert header is not None
        at, seq = PAGE_BYTES, 1
        while (frame := decode_frame(data, at, header.seed, seq)) is not None:
            at, seq, last = frame.next_at, frame.next_seq, frame
        assert last.first_seq == 2
        nonces.add(data[last.records_at : last.records_at + NONCE_BYTES])
    assert len(nonces) == 2


def test_an_older_program_takes_it_for_a_later_format_and_not_for_damage(tmp_path: Path) -> None:
    lane = Lane(tmp_path, keys=KEYS)
    lane.commit(b"x")
    lane.writer.close()
    page = lane.segments()[0].read_bytes()
    assert struct.unpack_from("<8sI", page) == (b"BUSBRLOG", 2)
    assert struct.unpack_from("<I", page, 64) == (crc32c(page[:64]),)
    assert struct.unpack_from("<16s", page, 104) == (OLD.id,)
    assert struct.unpack_from("<I", page, 152) == (crc32c(page[104:152], crc32c(page[:64])),)
    Lane(tmp_path / "plain").commit(b"x")
    assert struct.unpack_from("<8sI", (tmp_path / "plain" / lane.segments()[0].name).read_bytes()) == (b"BUSBRLOG", 1)


def test_who_looks_on_without_a_key_sees_that_it_is_whole_and_no_more(tmp_path: Path) -> None:
    lane, data, at, end = whole(tmp_path)
    files = LaneFiles("normal", tmp_path, LOG_ID, tmp_path / "LOG")
    pieces = [item for item in LaneWalk(files) if isinstance(item, Piece)]
    assert sum(piece.sealed for piece in pieces) == 4
    assert not any(piece.records for piece in pieces)
    walk = LaneWalk(files)
    assert [item for item in walk if isinstance(item, Damage)] == []
    assert list(faults(files, walk)) == []
    keyed = msgspec.structs.replace(files, keys=KEYS)
    assert [record.payload for item in LaneWalk(keyed) if isinstance(item, Piece) for record in item.records] == [
        b"first", b"second", b"third", b"fourth",
    ]  # fmt: skip
    changed = bytearray(data)
    changed[end - 1] ^= 1
    refresh(changed, at, end)
    lane.segments()[0].write_bytes(changed)
    [damage] = [item for item in LaneWalk(keyed) if isinstance(item, Damage)]
    assert (damage.first_seq, damage.next_seq) == (2, 4)
    with pytest.raises(LogKeyMissing):
        list(LaneWalk(msgspec.structs.replace(files, keys=Keyring(NEW))))
