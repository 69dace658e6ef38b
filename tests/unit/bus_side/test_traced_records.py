"""Records that each have a traceparent of their own: one shape for the stream, and the same headers as any."""

from __future__ import annotations

import pytest
from aiokafka.record.default_records import DefaultRecordBatch

from bridge.bus_side.forms import Forms
from bridge.bus_side.record_batch import RecordBatch, encode_stream, with_trace
from bridge.bus_side.records import Shapes, headers_of, trace_of
from bridge.config import Route
from bridge.log.record import EVENT, MESSAGE, Record, encode_context, encode_headers

CONTEXT = encode_context("dev-1", "t", "telemetry")
OWN = [("content-type", b"text/plain"), ("user-x", b"y")]


def parent(number):
    return b"00-%032x-%016x-01" % (number + 1, number + 1)


def record(seq, headers, kind=MESSAGE):
    return Record(seq, kind, 1, 0, seq * 10**9, 0, bytes(16), CONTEXT, encode_headers(headers), b"value")


@pytest.mark.parametrize("form", ["headers", "cloudevents"])
def test_one_shape_and_every_records_own_trace(form):
    shapes = Shapes("gw", "normal", bytes(16), 10, Forms([Route("#", "telemetry", format=form)]))
    records = [record(seq, [*OWN, ("traceparent", parent(seq))]) for seq in range(300)]
    batch = RecordBatch(1 << 20, 0, None, transactional=False)
    made = []
    for each in records:
        shape = shapes.of(each)
        made.append(shape)
        stream = encode_stream(
            shape.key, shape.headers, numbered=True, tombstone=False, event_id=shape.event_id, traced=shape.traced
        )
        assert batch.append(with_trace(stream, trace_of(each)), each.seq, each.payload, each.wall_ns // 1_000_000)
    assert len({id(shape) for shape in made}) == 1
    read = list(DefaultRecordBatch(batch.encode()))
    assert [each.headers for each in read] == [headers_of(made[0], each) for each in records]
    for seq, each in enumerate(read):
        headers = dict(each.headers)
        assert (headers["traceparent"], headers["seq"], headers["user-x"]) == (parent(seq), b"%d" % seq, b"y")
        assert len(headers) == len(each.headers)


@pytest.mark.parametrize(
    "headers",
    [
        [("traceparent", parent(1)), ("tracestate", b"a=1")],
        [("traceparent", parent(1) + b"-more")],
        [("traceparent", parent(1)), ("error", b"schema-mismatch")],
        [("user-traceparent", parent(1))],
        [],
    ],
)
def test_others_are_as_they_were(headers):
    shapes = Shapes("gw", "normal", bytes(16), 10)
    each = record(7, headers)
    shape = shapes.of(each)
    assert not shape.traced
    assert shapes.of(record(8, headers)) is shape
    found = headers_of(shape, each)
    assert found[7:-1] == [header for header in headers if header[0] != "error"]


def test_with_and_without_a_trace_are_two_shapes():
    shapes = Shapes("gw", "normal", bytes(16), 10)
    with_one, without = shapes.of(record(1, [*OWN, ("traceparent", parent(1))])), shapes.of(record(2, OWN))
    assert (with_one.traced, without.traced) == (True, False)
    assert with_one.headers == without.headers


def test_an_event_is_no_message():
    shapes = Shapes("gw", "normal", bytes(16), 10)
    each = record(1, [("traceparent", parent(1))], EVENT)
    shape = shapes.of(each)
    assert not shape.traced
    assert headers_of(shape, each)[-1] == ("traceparent", parent(1))


def test_what_is_long_is_not_remembered():
    """A topic may have 65,000 bytes, and a device as many of them as it likes."""
    shapes = Shapes("gw", "normal", bytes(16), 10)
    for topic, remembered in (("t" * 1000, True), ("t" * 60_000, False)):
        pair = [record(seq, OWN) for seq in (1, 2)]
        for each in pair:
            each.context = encode_context("dev-1", topic, "telemetry")
        one, other = (shapes.of(each) for each in pair)
        assert (one is other) is remembered
        assert one.headers == other.headers
        assert ("mqtt-topic", topic.encode()) in one.headers
