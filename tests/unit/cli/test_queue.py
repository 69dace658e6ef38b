"""`busbridge queue` on directories that a gateway's log writer left, and on one that is held by a process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from bridge import config
from bridge.bus_side.dead_letter_log import DeadLetterLog
from bridge.bus_side.letter import Letter
from bridge.bus_side.refusal import Refusal
from bridge.cli.queue_source import PROGRESS_FROM
from bridge.device_side.lock import DirectoryLock
from bridge.log import record as rec
from bridge.log.cursor import Cursor
from bridge.log.dropped import Dropped, Stream
from bridge.log.forensics import LaneFiles, LaneWalk
from bridge.security import keys
from bridge.security.envelope import Sealer
from tests.unit.cli.conftest import CHECKOUT
from tests.unit.log.lane import LOG_ID, Lane

TOPIC = "devices/dev-1/telemetry/t"
WALL_NS = 1_770_000_000_123_456_789


def record(
    seq: int, device: str = "dev-1", kind: int = rec.MESSAGE, headers: Iterable[tuple[str, bytes]] = ()
) -> bytes:
    context = rec.encode_context(device, f"devices/{device}/telemetry/t", "telemetry")
    return rec.encode(kind, 1 | rec.RETAIN, 7, WALL_NS, 1, context, rec.encode_headers(headers), b"payload %d" % seq)


def write(directory: Path, records: Iterable[bytes]) -> int:
    """Commits them one by one; returns the position behind the last."""
    lane = Lane(directory)
    for each in records:
        lane.writer.append(each)
        lane.writer.kick()
        lane.wait(lambda: lane.writer.committed == lane.writer.next_seq)
    lane.writer.close()
    return lane.writer.committed


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two lanes: 9 records and a release of two devices in `normal`, forwarded up to 4; one record in `alarm`."""
    uplink = tmp_path / "data" / "uplink"
    records = [record(seq, f"dev-{1 + seq % 2}") for seq in range(1, 10)]
    write(uplink / "normal", [*records[:5], record(6, kind=rec.RELEASE), *records[5:]])
    write(uplink / "alarm", [record(1)])
    (uplink / "LOG").write_text(LOG_ID.hex() + "\n")
    Cursor.save(uplink / "normal", LOG_ID, 4)
    return tmp_path / "data"


def contents(directory: Path) -> dict[Path, tuple[bytes, int]]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_inspect_counts_lanes_segments_and_streams(busbridge, data):
    before = contents(data)
    done = busbridge("queue", "inspect", data, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["daemon"] is None
    alarm, normal = report["lanes"]
    assert (normal["lane"], normal["log"], normal["written"], normal["forwarded"]) == ("normal", LOG_ID.hex(), 11, 4)
    assert normal["waiting"] == 6
    assert normal["why"] == "no daemon runs on this directory"
    assert (alarm["waiting"], alarm["forwarded"]) == (1, None)
    assert alarm["why"] == "nothing of this log was ever noted as forwarded; no daemon runs on this directory"
    streams = {each["device"]: (each["target"], each["records"], each["waiting"]) for each in normal["streams"]}
    assert streams == {"dev-1": ("telemetry", 4, 3), "dev-2": ("telemetry", 5, 3)}
    [segment] = normal["segments"]
    assert (segment["file"], segment["records"], segment["next_seq"]) == ("00000000000000000001.seg", 10, 11)
    assert contents(data) == before


def test_inspect_prints_tables(busbridge, data):
    done = busbridge("queue", "inspect", data)
    assert done.returncode == 0
    assert "no daemon runs on this directory" in done.stdout
    assert "before 4" in done.stdout
    assert "dev-2" in done.stdout
    assert "00000000000000000001.seg" in done.stdout


def test_inspect_tells_what_was_dropped_and_what_is_in_quarantine(busbridge, data):
    lane = data / "uplink" / "alarm"
    Dropped(1, 3, "queue-full", [Stream("dev-1", "telemetry", 1, 2, 2)]).save(lane)
    (lane / "quarantine").mkdir()
    (lane / "quarantine" / "00000000000000000001-4096.bin").write_bytes(b"x")
    report = json.loads(busbridge("queue", "inspect", data, "--lane", "alarm", "--json").stdout)
    assert report["lanes"][0]["dropped"] == 2
    assert report["lanes"][0]["quarantine"] == ["00000000000000000001-4096.bin"]
    told = busbridge("queue", "inspect", data, "--lane", "alarm").stdout
    assert "2 records were dropped for want of space" in told
    assert "quarantine: 00000000000000000001-4096.bin" in told


def test_beside_a_running_daemon_it_says_so_and_reads_all_the_same(busbridge, data):
    with DirectoryLock(data):
        inspected = busbridge("queue", "inspect", data, "--json")
        verified = busbridge("queue", "verify", data / "uplink" / "normal")
        exported = busbridge("queue", "export", data)
    report = json.loads(inspected.stdout)
    assert report["daemon"] == str(os.getpid())
    assert "runs: it is on its way, or Kafka is away" in report["lanes"][1]["why"]
    for done in (inspected, verified, exported):
        assert done.returncode == 0
        assert f"A daemon (process {os.getpid()}) runs" in done.stderr
    assert busbridge("queue", "verify", data).stderr == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_long_work_shows_how_far_it_is_on_a_terminal_and_nowhere_else(data, tmp_path, terminal):
    (segment,) = (data / "uplink" / "normal").glob("*.seg")
    os.truncate(segment, PROGRESS_FROM)  # a hole, which takes as long to read as zeros
    ours, theirs = os.openpty() if terminal else os.pipe()
    command = [sys.executable, "-m", "bridge", "queue", "inspect", str(data), "--json"]
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=theirs, cwd=CHECKOUT, env={**os.environ, "TERM": "xterm"}
        )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # a terminal that nobody has open any more
        while more := os.read(ours, 65_536):
            shown += more
    os.close(ours)
    assert process.wait(60) == 0
    assert json.loads((tmp_path / "out").read_bytes())["lanes"][1]["lane"] == "normal"
    assert b"Reading" in shown if terminal else shown == b""


def test_verify_finds_nothing_wrong(busbridge, data):
    done = busbridge("queue", "verify", data)
    assert (done.returncode, done.stderr) == (0, "")
    assert "normal: 10 records in 11 frames are good" in done.stdout


def test_verify_says_where_damage_begins(busbridge, data):
    path = data / "uplink" / "normal" / "00000000000000000001.seg"
    pieces = list(LaneWalk(LaneFiles("normal", path.parent, LOG_ID, path)))
    with path.open("r+b") as file:
        file.seek(pieces[3].offset + 60)
        file.write(b"\xff\xff")
    done = busbridge("queue", "verify", data, "--lane", "normal")
    assert done.returncode == 3
    said = f"{path}, byte {pieces[3].offset}, record 3: a frame whose checksum does not match; 1 record lost, "
    assert said + f"it goes on with record 4 at byte {pieces[4].offset}" in done.stdout
    assert "1 thing wrong" in done.stderr
    inspected = json.loads(busbridge("queue", "inspect", data, "--json").stdout)
    assert len(inspected["lanes"][1]["damage"]) == 1
    exported = busbridge("queue", "export", data, "--lane", "normal")
    assert exported.returncode == 3
    assert "record 3" in exported.stderr
    assert [json.loads(line)["seq"] for line in exported.stdout.splitlines()] == [1, 2, 4, 5, 7, 8, 9, 10]
    assert busbridge("queue", "export", data, "--lane", "normal", "--pending").returncode == 0


def test_export_writes_what_the_surface_says(busbridge, data):
    done = busbridge("queue", "export", data, "--lane", "normal", "--device", "dev-1")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["seq"] for line in lines] == [2, 4, 7, 9]
    assert lines[0] == {
        "lane": "normal",
        "seq": 2,
        "received": "2026-02-02T02:40:00.123Z",
        "device": "dev-1",
        "topic": TOPIC,
        "qos": 1,
        "retain": True,
        "headers": {},
        "payload_base64": base64.b64encode(b"payload 2").decode(),
        "target": "telemetry",
        "kind": "message",
        "log": LOG_ID.hex(),
    }


def test_export_of_what_is_not_forwarded_into_a_file(busbridge, data, tmp_path):
    done = busbridge("queue", "export", data, "--pending", "--out", "unsent.jsonl")
    assert (done.returncode, done.stdout) == (0, "")
    lines = [json.loads(line) for line in (tmp_path / "unsent.jsonl").read_text().splitlines()]
    assert [(line["lane"], line["seq"]) for line in lines] == [
        ("alarm", 1),
        *(("normal", seq) for seq in (4, 5, 7, 8, 9, 10)),
    ]
    assert not (tmp_path / "unsent.jsonl.tmp").exists()


def test_verify_as_json(busbridge, data):
    path = data / "uplink" / "normal" / "00000000000000000001.seg"
    pieces = list(LaneWalk(LaneFiles("normal", path.parent, LOG_ID, path)))
    with path.open("r+b") as file:
        file.seek(pieces[3].offset + 60)
        file.write(b"\xff\xff")
    done = busbridge("queue", "verify", data, "--json")
    assert done.returncode == 3
    alarm, normal = json.loads(done.stdout)
    assert alarm == {"lane": "alarm", "frames": 2, "records": 1, "sealed": 0, "damage": []}
    (damage,) = normal["damage"]
    assert (damage["path"], damage["offset"], damage["first_seq"]) == (str(path), pieces[3].offset, 3)
    assert (damage["next_offset"], damage["next_seq"]) == (pieces[4].offset, 4)
    assert "checksum does not match" in damage["reason"]


@pytest.mark.parametrize("arguments", [("export",), ("inspect", "--json"), ("verify",), ("dead-letters",)])
def test_a_reader_that_goes_away_ends_it_without_a_word(tmp_path, arguments):
    write(tmp_path / "data" / "uplink" / "normal", [record(seq) for seq in range(1, 6)])
    keep_letters(tmp_path / "data", 5)
    command = [sys.executable, "-m", "bridge", "queue", arguments[0], "data", *arguments[1:]]
    environment = {"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            command, stdout=gone, stderr=subprocess.PIPE, cwd=tmp_path, env=environment, check=False, timeout=60
        )
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def keep_letters(data: Path, count: int) -> None:
    """As many dead letters as a gateway would keep; the last one cannot be decoded."""
    context = rec.encode_context("dev-1", TOPIC, "telemetry")
    log = DeadLetterLog(
        data / "dead-letters",
        record_max_bytes=1000,
        max_bytes=64 << 20,
        event_topic="events",
        boot_id=bytes(16),
        wall_ns=lambda: WALL_NS,
    )
    letters = [
        Letter(
            "gw-1",
            "normal",
            LOG_ID,
            rec.Record(seq, rec.MESSAGE, 1, 0, WALL_NS, 0, bytes(16), context if seq < count else b"\xff", b"", b"x"),
            "telemetry",
            Refusal("record-too-large", "larger than max.message.bytes", 2),
            "the topic 'dead' does not exist",
        )
        for seq in range(1, count + 1)
    ]
    asyncio.run(log.keep(letters))
    log.close()


def test_dead_letters_are_listed(busbridge, data):
    keep_letters(data, 3)
    listed = json.loads(busbridge("queue", "dead-letters", data, "--json").stdout)
    assert [row["seq"] for row in listed] == ["1", "2", "3"]
    assert listed[0] == {
        "kept": "2026-02-02T02:40:00.123Z",
        "device": "dev-1",
        "lane": "normal",
        "seq": "1",
        "topic": "telemetry",
        "partition": "2",
        "bytes": "1",
        "error": "record-too-large",
        "detail": "larger than max.message.bytes",
        "not_taken": "the topic 'dead' does not exist",
    }
    told = busbridge("queue", "dead-letters", data)
    assert (told.returncode, told.stderr) == (0, "")
    assert "3 dead letters: 3 record-too-large" in told.stdout
    assert "3 dead letters stay on this gateway" in busbridge("queue", "inspect", data).stdout


def test_dead_letters_are_exported_each_once(busbridge, data):
    keep_letters(data, 3)
    keep_letters(data, 3)  # as after a kill
    lines = [json.loads(line) for line in busbridge("queue", "dead-letters", data, "export").stdout.splitlines()]
    assert [(line["seq"], line["device"], line["target"]) for line in lines] == [
        (1, "dev-1", "telemetry"),
        (2, "dev-1", "telemetry"),
        (3, "", "telemetry"),
    ]
    assert lines[0]["error"] == "record-too-large"
    assert (lines[0]["original_partition"], lines[0]["log"]) == (2, LOG_ID.hex())


def test_dead_letters_forwarded_after_all_are_listed_only_on_request(busbridge, data):
    keep_letters(data, 3)
    directory = data / "dead-letters"
    Cursor.save(directory, bytes.fromhex((directory / "LOG").read_text().strip()), 3)
    assert [row["seq"] for row in json.loads(busbridge("queue", "dead-letters", data, "--json").stdout)] == ["3"]
    assert len(json.loads(busbridge("queue", "dead-letters", data, "--json", "--all").stdout)) == 3


def test_no_dead_letters(busbridge, data):
    done = busbridge("queue", "dead-letters", data)
    assert (done.returncode, done.stdout) == (0, "no dead letters stay here\n")
    assert json.loads(busbridge("queue", "dead-letters", data, "--json").stdout) == []


def test_export_of_raw_payloads(busbridge, data, tmp_path):
    assert busbridge("queue", "export", data, "--lane", "alarm", "--payloads", "payloads").returncode == 0
    assert (tmp_path / "payloads" / "alarm" / "00000000000000000001").read_bytes() == b"payload 1"


def test_headers_that_repeat_or_are_not_text_and_a_tombstone(busbridge, tmp_path):
    headers = [("user-a", b"1"), ("user-a", b"2"), ("seal-key", b"\xff")]
    context = rec.encode_context("dev-1", "", "device-state")
    removed = rec.encode(rec.DOCUMENT, rec.TOMBSTONE, 0, WALL_NS, 1, context, b"", b"")
    write(tmp_path / "lane", [record(1, headers=headers), removed])
    done = busbridge("queue", "export", tmp_path / "lane")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["headers"] == {"user-a": "1", "seal-key": "base64:/w=="}
    assert first["headers_repeated"] == [["user-a", "2"]]
    assert (second["kind"], second["tombstone"], second["payload_base64"]) == ("document", True, "")


def test_open_reads_what_export_wrote(busbridge, tmp_path):
    public, _ = keys.new("data-team", tmp_path)
    sealer = Sealer({"data-team": keys.load_public(public)}, config.Sealing(), os.urandom)
    payloads = [b'{"t": 20.5}', "grün".encode(), b"\xff\x00"]
    context, sealed_records = rec.encode_context("dev-1", TOPIC, "telemetry"), []
    for seq, payload in enumerate(payloads, 1):
        headers, sealed = sealer.seal("dev-1", TOPIC, seq, payload, 0.0)
        sealed_records.append(rec.encode(rec.MESSAGE, 1, 0, WALL_NS, 1, context, rec.encode_headers(headers), sealed))
    write(tmp_path / "data" / "uplink" / "normal", sealed_records)
    exported = busbridge("queue", "export", "data")
    assert exported.returncode == 0
    done = busbridge("open", "--key", "data-team.key", given=exported.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    opened = [row["payload"].encode() if "payload" in row else base64.b64decode(row["payload_base64"]) for row in rows]
    assert opened == payloads
    assert [(row["device"], row["topic"], row["seq"], row["sealed"]) for row in rows] == [
        ("dev-1", TOPIC, seq, True) for seq in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("inspect", "nowhere"), 2, "there is no queue in it"),
        (("verify", "data", "--lane", "bulk"), 2, "no lane bulk here; there are: alarm, normal"),
        (("export", "data", "--out", "x", "--payloads", "y"), 2, "not both"),
        (("export", "data", "--out", "no/such/place"), 1, "No such file"),
    ],
)
def test_wrong_arguments_are_one_sentence(busbridge, data, arguments, code, said):
    done = busbridge("queue", *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
