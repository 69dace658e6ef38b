"""The bytes on disk are those of docs/queue-format.md: read here with nothing but that text."""

from __future__ import annotations

import struct
from pathlib import Path

from bridge.log import record
from bridge.log.cursor import Cursor
from tests.unit.log.lane import BOOT_ID, LOG_ID, SMALL, Lane


def crc32c(data: bytes, value: int = 0) -> int:
    """The plain definition: polynomial 0x1EDC6F41, reflected."""
    value ^= 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def test_the_crc_is_castagnoli() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_a_segment(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    lane.mono_ns = 77
    lane.commit(b"one", b"three")
    lane.commit(b"five")
    lane.writer.close()
    data = (tmp_path / "00000000000000000001.seg").read_bytes()
    assert len(data) == SMALL.segment_bytes
    fields = struct.unpack_from("<8sIIQ16sQq", data)
    assert fields == (b"BUSBRLOG", 1, 4096, len(data), LOG_ID, 1, 0)
    (seed,) = struct.unpack_from("<I", data, 64)
    assert seed == crc32c(data[:64])
    assert struct.unpack_from("<16sqI", data, 72) == (BOOT_ID, 77, 1)
    assert struct.unpack_from("<I", data, 100)[0] == crc32c(data[72:100], seed)
    frames = list(read_frames(data, seed))
    assert [(first, count) for first, count, _ in frames] == [(1, 0), (1, 2), (3, 1)]
    records = [each for _, _, body in frames for each in read_records(body)]
    assert [(kind, payload) for kind, *_, payload in records] == [(6, b""), (1, b"one"), (1, b"three"), (1, b"five")]
    context = b"\x05\0dev-1\x0f\0devices/dev-1/t\x09\0telemetry"
    assert records[1] == (1, 1, 7, 1_000, 2_000, context, b"", b"one")


def read_frames(data: bytes, seed: int) -> list[tuple[int, int, bytes]]:
    """`(first, count, records)` of each good frame."""
    at, frames = 4096, []
    while True:
        crc, length, count, zero, first, boot = struct.unpack_from("<IIIIQ16s", data, at)
        if length <= 40:
            return frames
        assert crc == crc32c(data[at + 4 : at + length], seed)
        assert (zero, boot) == (0, BOOT_ID)
        frames.append((first, count, data[at + 40 : at + length]))
        at = (at + length + 7) // 8 * 8


def read_records(body: bytes) -> list[tuple[object, ...]]:
    """Kind, flags, packet id, both times, context, headers and payload of each record."""
    records: list[tuple[object, ...]] = []
    while body:
        length, *fields, c, h = struct.unpack_from("<IBBHqqHH", body)
        one, body = body[:length], body[length:]
        records.append((*fields, one[28 : 28 + c], one[28 + c : 28 + c + h], one[28 + c + h :]))
    return records


def test_headers() -> None:
    assert record.encode_headers([("a", b"xyz"), ("", b"")]) == b"\x01\0a\x03\0xyz\0\0\0\0"


def test_the_cursor(tmp_path: Path) -> None:
    Cursor.save(tmp_path, LOG_ID, 77)
    Cursor.save(tmp_path, LOG_ID, 78)
    data = (tmp_path / "cursor").read_bytes()
    assert len(data) == 8192
    slots = [struct.unpack_from("<8s16sQQI", data, at) for at in (0, 4096)]
    expected = [(b"BUSBCURS", LOG_ID, generation, position) for generation, position in ((1, 77), (2, 78))]
    assert slots == [(*each, crc32c(struct.pack("<8s16sQQ", *each))) for each in expected]
