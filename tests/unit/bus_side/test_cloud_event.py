"""CloudEvents as the CloudEvents project's own package reads them."""

from __future__ import annotations

import datetime

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event

from bridge.bus_side.cloud_event import rfc3339
from bridge.bus_side.forms import Forms
from bridge.bus_side.record_batch import RecordBatch, encode_stream
from bridge.bus_side.records import Shapes, headers_of
from bridge.config import CloudEvents, Route
from bridge.log.record import MESSAGE, Record, encode_context, encode_headers

LOG_ID = bytes(range(16))
TOPIC = "devices/dev-1/telemetry/t"
MS = 1_763_730_300_123


def record(own=(), *, seq=5, device="dev-1", topic=TOPIC, payload=b'{"a": 1}', ms=MS):
    context = encode_context(device, topic, "telemetry")
    return Record(seq, MESSAGE, 1, 0, ms * 1_000_000, 0, bytes(16), context, encode_headers(own), payload)


def shapes(**settings):
    route = Route("#", "telemetry", format="cloudevents", **settings)
    return Shapes("gw-1", "normal", LOG_ID, 100, Forms([route]))


def written(of, *records):
    """Key, value and headers as they stand in a record batch."""
    batch = RecordBatch(1 << 20, 0, None, transactional=False)
    for each in records:
        shape = of.of(each)
        stream = encode_stream(
            shape.key, shape.headers, numbered=shape.numbered, tombstone=False, event_id=shape.event_id
        )
        assert batch.append(stream, each.seq, each.payload, each.wall_ns // 1_000_000)
        assert headers_of(shape, each)[-3:][0][0] == "ce_id"
    return [(each.key, each.value, each.headers) for each in DefaultRecordBatch(batch.encode())]


def event(of, each):
    ((key, value, headers),) = written(of, each)
    assert headers == headers_of(of.of(each), each), "the batch and the files say the same"
    return from_kafka_event(KafkaMessage(dict(headers), key, value)), dict(headers)


def test_attributes_data_and_our_own_headers_beside_them():
    found, headers = event(shapes(), record([("content-type", b"application/json"), ("user-unit", b"C")]))
    assert found.get_specversion() == "1.0"
    assert found.get_type() == "busbridge.message"
    assert found.get_source() == "/busbridge/gw-1/dev-1"
    assert found.get_subject() == TOPIC
    assert found.get_id() == f"{LOG_ID.hex()}/normal/5"
    assert found.get_time() == datetime.datetime.fromtimestamp(MS / 1000, datetime.UTC)
    assert found.get_datacontenttype() == "application/json"
    assert found.get_extension("partitionkey") == "dev-1"
    assert found.get_dataschema() is None
    assert found.get_data() == {"a": 1}
    assert headers["mqtt-topic"] == TOPIC.encode()
    assert headers["user-unit"] == b"C"
    assert list(headers)[-1] == "seq"


def test_what_the_route_says():
    settings = CloudEvents("com.example.{gateway}", "//example.com/{device}", "{device} on {topic}", "https://e.com/s")
    found, _ = event(shapes(cloudevents=settings, key="none"), record())
    assert (found.get_type(), found.get_source()) == ("com.example.gw-1", "//example.com/dev-1")
    assert (found.get_subject(), found.get_dataschema()) == (f"dev-1 on {TOPIC}", "https://e.com/s")
    assert found.get_extension("partitionkey") is None
    assert found.get_datacontenttype() is None


def test_names_that_devices_choose_stay_what_they_are():
    odd = "a b/{topic}\x01é"
    found, _ = event(shapes(), record(device=odd, topic="x\x7fy"))
    assert found.get_source() == "/busbridge/gw-1/a%20b/%7Btopic%7D%01%C3%A9"
    assert found.get_subject() == "x%7Fy"


@pytest.mark.parametrize(
    ("own", "content_type", "inner"),
    [
        ([("seal", b"1"), ("content-type", b"application/json")], b"application/octet-stream", b"application/json"),
        ([("seal", b"1")], b"application/octet-stream", None),
        (
            [("content-type", b"application/cloudevents+json")],
            b"application/octet-stream",
            b"application/cloudevents+json",
        ),
        ([("content-type", b"jason")], b"application/octet-stream", b"jason"),
        ([("content-type", b"text/plain; charset=utf-8")], b"text/plain; charset=utf-8", None),
        ([], None, None),
    ],
)
def test_the_content_type_is_that_of_the_value(own, content_type, inner):
    found, headers = event(shapes(), record(own, payload=b"\xff\x00"))
    assert headers.get("content-type") == content_type
    assert headers.get("ce_innercontenttype") == inner
    assert found.get_data() is not None


def test_every_record_has_an_id_and_a_time_of_its_own():
    of = shapes()
    found = [dict(headers) for _, _, headers in written(of, *(record(seq=seq, ms=MS + seq) for seq in range(7, 1200)))]
    assert [each["ce_id"] for each in found] == [f"{LOG_ID.hex()}/normal/{seq}".encode() for seq in range(7, 1200)]
    assert [each["ce_time"] for each in found] == [rfc3339(MS + seq) for seq in range(7, 1200)]


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, b"1970-01-01T00:00:00.000Z"), (-1, b"1969-12-31T23:59:59.999Z"), (MS, b"2025-11-21T13:05:00.123Z")],
)
def test_time_as_text(ms, text):
    assert rfc3339(ms) == text
