"""`busbridge open` on files, standard input and a topic of librdkafka's own mock cluster."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from bridge import config
from bridge.bus_side.jsonl import Line
from bridge.cli.exported import RecordError, header_bytes, header_text, read_line
from bridge.security import keys
from bridge.security.device_seal import DeviceSealer, SealedByDevice
from bridge.security.envelope import Sealer

TOPIC = "devices/dev-1/telemetry/t"
PAYLOADS = [b'{"t": 20.5}', "grün".encode(), b"\xff\x00"]

Sealed = list[tuple[int, tuple[tuple[str, bytes], ...], bytes]]


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    public, _ = keys.new("data-team", tmp_path)
    keys.new("stranger", tmp_path)
    sealer = Sealer({"data-team": keys.load_public(public)}, config.Sealing(), os.urandom)
    return [(seq, *sealer.seal("dev-1", TOPIC, seq, payload, 0.0)) for seq, payload in enumerate(PAYLOADS, 1)]


def export_line(seq: int, headers: tuple[tuple[str, bytes], ...], payload: bytes) -> str:
    fields = {"lane": "normal", "seq": seq, "received": "2026-01-01T00:00:00.000Z", "device": "dev-1", "topic": TOPIC}
    texts = {name: header_text(value) for name, value in headers}
    return json.dumps({**fields, "qos": 1, "retain": False, "headers": texts, "payload_base64": b64(payload)}) + "\n"


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def opened(text: str) -> list[bytes]:
    rows = [json.loads(line) for line in text.splitlines()]
    assert all(row["sealed"] and (row["device"], row["topic"]) == ("dev-1", TOPIC) for row in rows)
    return [row["payload"].encode() if "payload" in row else base64.b64decode(row["payload_base64"]) for row in rows]


def test_a_file_and_standard_input(busbridge, sealed, tmp_path):
    export = "".join(export_line(*record) for record in sealed)
    (tmp_path / "export.jsonl").write_text(export)
    from_file = busbridge("open", "--key", "data-team.key", "export.jsonl")
    piped = busbridge("open", "--key", "data-team.key", given=export)
    assert (from_file.returncode, from_file.stderr) == (0, "")
    assert opened(from_file.stdout) == opened(piped.stdout) == PAYLOADS
    assert opened(busbridge("open", "--key", "data-team.key", "--max", "2", given=export).stdout) == PAYLOADS[:2]


def test_the_files_of_the_jsonl_sink(busbridge, sealed):
    headers = [("mqtt-topic", TOPIC), ("seal", "1")]
    lines = [
        Line(
            topic="telemetry",
            key="dev-1",
            timestamp=0,
            headers=[*headers, ("seq", str(seq))],
            headers_base64=[("seal-key", b64(dict(sealed_headers)["seal-key"]))],
            value_base64=b64(payload),
        )
        for seq, sealed_headers, payload in sealed
    ]
    given = b"\n".join(map(msgspec.json.encode, lines)).decode()
    done = busbridge("open", "--key", "data-team.key", given=given)
    assert (done.returncode, done.stderr) == (0, "")
    assert opened(done.stdout) == PAYLOADS


def test_a_plain_document_of_the_jsonl_sink_passes_through(busbridge, sealed):
    line = Line(topic="device-state", key="dev-1", timestamp=0, headers=[("seq", "4")], value='{"device": "dev-1"}')
    done = busbridge("open", "--key", "data-team.key", given=msgspec.json.encode(line).decode())
    assert done.returncode == 0
    row = {"device": "dev-1", "topic": "", "seq": 4, "sealed": False, "payload": '{"device": "dev-1"}'}
    assert json.loads(done.stdout) == row


def test_what_does_not_open_is_named_and_the_rest_is_opened(busbridge, sealed):
    seq, headers, payload = sealed[1]
    lines = [export_line(*sealed[0]), export_line(seq + 7, headers, payload), "garbage\n", export_line(*sealed[2])]
    done = busbridge("open", "--key", "data-team.key", given="".join(lines))
    assert done.returncode == 3
    assert opened(done.stdout) == [PAYLOADS[0], PAYLOADS[2]]
    assert "seq 9" in done.stderr
    assert "line 3" in done.stderr
    assert "2 records could not be opened" in done.stderr


def test_a_stranger_opens_nothing(busbridge, sealed):
    done = busbridge("open", "--key", "stranger.key", given=export_line(*sealed[0]))
    assert (done.returncode, done.stdout) == (3, "")
    assert "sealed for other keys" in done.stderr


def test_a_plain_record_passes_through(busbridge, sealed):
    done = busbridge("open", "--key", "data-team.key", given=export_line(5, (), b"hello"))
    row = {"device": "dev-1", "topic": TOPIC, "seq": 5, "sealed": False, "payload": "hello"}
    assert json.loads(done.stdout) == row


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("--key", "none.key"), 2, "none.key"),
        (("--key", "data-team.pub"), 2, "but a public one"),
        (("--key", "data-team.key", "x.jsonl", "--topic", "t"), 2, "not both"),
        (("--key", "data-team.key", "x.jsonl"), 1, "x.jsonl"),
        (("--key", "data-team.key", "--topic", "t", "--kafka", "127.0.0.1:1"), 1, "cannot be reached"),
    ],
)
def test_wrong_arguments_are_one_sentence(busbridge, sealed, arguments, code, named):
    done = busbridge("open", *arguments)
    assert done.returncode == code
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1


def mock_cluster(records: Sealed) -> tuple[Producer, str]:
    """Start librdkafka's mock cluster with the records in topic `telemetry`; it lives as long as the producer."""
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    for seq, headers, payload in records:
        all_headers = [("mqtt-topic", TOPIC.encode()), ("seq", b"%d" % seq), *headers]
        producer.produce("telemetry", payload, b"dev-1", headers=all_headers, partition=0)
    assert producer.flush(10) == 0
    [broker] = producer.list_topics("telemetry").brokers.values()
    return producer, f"{broker.host}:{broker.port}"


def test_a_kafka_topic(busbridge, sealed):
    producer, address = mock_cluster(sealed)
    done = busbridge("open", "--key", "data-team.key", "--topic", "telemetry", "--kafka", address)
    assert (done.returncode, done.stderr) == (0, "")
    assert opened(done.stdout) == PAYLOADS
    two = busbridge("open", "--key", "data-team.key", "--topic", "telemetry", "--kafka", address, "--max", "2")
    assert opened(two.stdout) == PAYLOADS[:2]
    assert len(producer) == 0


def test_a_topic_that_is_not_there_is_named_and_not_made(busbridge, sealed):
    producer, address = mock_cluster(sealed)
    done = busbridge("open", "--key", "data-team.key", "--topic", "nothing", "--kafka", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"busbridge: Kafka at {address} has no topic nothing\n"
    assert set(producer.list_topics().topics) == {"telemetry"}


@given(st.binary(max_size=30) | st.sampled_from([b"base64:", b"base64:AAAA", b"bas", b"\xc3"]))
def test_every_header_value_comes_back(value):
    assert header_bytes(header_text(value)) == value


@pytest.mark.parametrize("line", [b"", b"[]", b'{"device":"d"}', b'{"device":1}', b"\xff"])
def test_what_is_no_export_line_says_so(line):
    with pytest.raises(RecordError):
        read_line(line)


@pytest.mark.parametrize("headers", ['{"seal-key":"base64:?"}', "{}"])
def test_wrong_base64_says_so(headers):
    payload = "AAAA" if "seal" in headers else "?"
    with pytest.raises(RecordError, match="base64"):
        read_line(
            b'{"device":"d","topic":"t","seq":1,"headers":%s,"payload_base64":"%s"}'
            % (headers.encode(), payload.encode())
        )


def test_what_a_device_sealed_opens_from_a_file_and_from_a_topic_and_a_copy_shows(busbridge, tmp_path):
    public, _ = keys.new("data-team", tmp_path)
    recipient = keys.load_public(public)
    device, guard = DeviceSealer("dev-1", [recipient], os.urandom, last_number=41), SealedByDevice([recipient], 1)
    records = [
        (seq, *guard.seal("dev-1", TOPIC, seq, device.seal(TOPIC, payload), 0.0))
        for seq, payload in enumerate(PAYLOADS)
    ]
    records.append((len(records), *records[0][1:]))
    from_file = busbridge("open", "--key", "data-team.key", given="".join(export_line(*each) for each in records))
    producer, server = mock_cluster(records)
    from_topic = busbridge("open", "--key", "data-team.key", "--topic", "telemetry", "--kafka", server, "--max", "4")
    for done in (from_file, from_topic):
        assert (done.returncode, done.stderr) == (0, "")
        assert opened(done.stdout) == [*PAYLOADS, PAYLOADS[0]]
        assert [json.loads(line)["device_number"] for line in done.stdout.splitlines()] == [42, 43, 44, 42]
    del producer
