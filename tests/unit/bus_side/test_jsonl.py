"""Files instead of Kafka: once, in order, across a crash."""

from __future__ import annotations

import gzip
import json

import pytest
from aiokafka.codec import zstd_decode

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


@pytest.mark.parametrize(("compression", "open_up"), [("gzip", gzip.decompress), ("zstd", zstd_decode)])
async def test_finished_files_are_compressed_and_hold_the_same(tmp_path, compression, open_up):
    plain, squeezed = tmp_path / "plain", tmp_path / "squeezed"
    for directory, how in ((plain, "none"), (squeezed, compression)):
        sink = JsonlSink("gw-1", Jsonl(directory, 2_000, how))
        await sink.start(("normal",), LOG_ID)
        for seq in range(1, 60):
            await sink.write([batch(seq)])
        await sink.stop()
        await sink.start(("normal",), LOG_ID)  # what was finished while another was compressed
        await sink.stop()
    names = sorted(path.name for path in squeezed.iterdir())
    assert [name for name in names if name.endswith(".jsonl")] == [names[-2]], "the one being written"
    assert names[-1] == "position"
    assert len(names) > 4
    for path in plain.glob("*.jsonl"):
        other = squeezed / path.name
        if not other.exists():
            other = next(squeezed.glob(path.name + ".*"))
            data = other.read_bytes()
            assert len(data) < path.stat().st_size
            found = open_up(data)
        else:
            found = other.read_bytes()
        assert found == path.read_bytes()


async def test_a_crash_while_a_file_was_compressed(tmp_path):
    sink = JsonlSink("gw-1", Jsonl(tmp_path, 500, "zstd"))
    await sink.start(("normal",), LOG_ID)
    for seq in range(1, 10):
        await sink.write([batch(seq)])
    await sink.stop()
    await sink.start(("normal",), LOG_ID)
    await sink.stop()
    whole = sorted(tmp_path.glob("*.zst"))
    first, second = (path.with_suffix("") for path in whole[:2])
    # Killed before the compressed file had its name, and after that but before the plain one was gone.
    first.write_bytes(zstd_decode(whole[0].read_bytes()))
    whole[0].rename(str(whole[0]) + ".tmp")
    second.write_bytes(b"the same, but for a mark of this test")
    await sink.start(("normal",), LOG_ID)
    await sink.stop()
    assert sorted(tmp_path.glob("*.zst")) == whole
    assert not first.exists()
    assert not second.exists()
    assert not list(tmp_path.glob("*.tmp"))


async def test_a_directory_that_is_gone_is_noticed(tmp_path):
    sink, _ = await started(tmp_path / "out")
    await sink.write([batch(1)])
    await sink.probe()
    (tmp_path / "out").rename(tmp_path / "unplugged")
    with pytest.raises(SinkAway):
        await sink.probe()
    await sink.stop()


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
