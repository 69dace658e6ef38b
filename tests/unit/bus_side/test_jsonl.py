"""Files instead of Kafka: once, in order, across a crash."""

from __future__ import annotations

import json

import pytest

from bridge.bus_side.jsonl import JsonlSink
from bridge.bus_side.sink import LaneBatch, SinkAway
from bridge.config import Jsonl
from bridge.log.record import DOCUMENT, MESSAGE, RELEASE, TOMBSTONE, Record, encode_context, encode_headers

LOG_ID = bytes(range(16))
OWN = encode_headers([("content-type", b"text/plain"), ("seal-key", b"\xff")])


def batch(*seqs, payload=b"hello"):
    context = encode_context("dev-1", "devices/dev-1/t", "telemetry")
    records = [Record(seq, MESSAGE, 1, 0, seq * 10**9, 0, bytes(16), context, OWN, payload) for seq in seqs]
    return LaneBatch("normal", records, seqs[-1] + 1)


def lines(directory):
    return [json.loads(line) for path in sorted(directory.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


async def started(directory, rotate_bytes=1 << 20, log_id=LOG_ID):
    sink = JsonlSink("gw-1", Jsonl(directory, rotate_bytes))
    return sink, await sink.start(["normal"], log_id)


async def test_a_line_a_record(tmp_path):
    sink, held = await started(tmp_path / "out")
    assert held == {}
    written = await sink.write([batch(1), batch(2, payload=b"\xff")])
    assert written.records == {"normal": 2}
    await sink.stop()
    first, second = lines(tmp_path / "out")
    assert (first["topic"], first["key"], first["timestamp"], first["value"]) == ("telemetry", "dev-1", 1000, "hello")
    assert dict(first["headers"])["content-type"] == "text/plain"
    assert dict(first["headers"])["seq"] == "1"
    assert first["headers_base64"] == [["seal-key", "/w=="]]
    assert (second.get("value"), second["value_base64"]) == (None, "/w==")


async def test_crash_behind_the_position_leaves_nothing_twice(tmp_path):
    sink, _ = await started(tmp_path)
    await sink.write([batch(1, 2)])
    await sink.stop()
    with (tmp_path / "000000000001.jsonl").open("ab") as file:
        file.write(b'{"seq": 3, "torn')
    sink, held = await started(tmp_path)
    assert held == {"normal": 3}
    await sink.write([batch(3)])
    await sink.stop()
    assert [dict(line["headers"])["seq"] for line in lines(tmp_path)] == ["1", "2", "3"]


async def test_files_are_rotated(tmp_path):
    sink, _ = await started(tmp_path, rotate_bytes=500)
    for seq in range(1, 10):
        await sink.write([batch(seq)])
    await sink.stop()
    assert len(list(tmp_path.glob("*.jsonl"))) > 3
    assert [dict(line["headers"])["seq"] for line in lines(tmp_path)] == [str(seq) for seq in range(1, 10)]


async def test_position_of_another_log_does_not_count(tmp_path):
    sink, _ = await started(tmp_path)
    await sink.write([batch(1)])
    await sink.stop()
    sink, held = await started(tmp_path, log_id=bytes(16))
    await sink.stop()
    assert held == {}


async def test_tombstones_and_what_is_not_forwarded(tmp_path):
    sink, _ = await started(tmp_path)
    context = encode_context("dev-1", "", "device-state")
    release = Record(1, RELEASE, 0, 9, 0, 0, bytes(16), context, b"", b"")
    removed = Record(2, DOCUMENT, TOMBSTONE, 0, 0, 0, bytes(16), context, b"", b"")
    written = await sink.write([LaneBatch("normal", [release, removed], 3)])
    assert written.records == {"normal": 1}
    await sink.stop()
    (line,) = lines(tmp_path)
    assert "value" not in line
    assert "value_base64" not in line


async def test_directory_that_cannot_be_used_is_an_outage(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SinkAway):
        await started(tmp_path / "file")
