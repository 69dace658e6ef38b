"""Metrics in JSON, from bytes that the tests' own encoder wrote."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.sparkplug import wire
from bridge.sparkplug.errors import NotSparkplug
from bridge.sparkplug.metrics import Bounds, decode
from bridge.sparkplug.names import Names, names_of_birth
from bridge.sparkplug.record import encode, record_of
from bridge.sparkplug.topic import Topic
from tests.support.sparkplug_bytes import chunk, double, metric, payload, single, whole

SCHEMA = jsonschema_rs.validator_for(
    json.loads((Path(__file__).parents[3] / "docs" / "sparkplug-record.schema.json").read_text())
)
BOUNDS = Bounds(values_max=100, nesting_max=3)


def read(*metrics, names=None, bounds=BOUNDS):
    return decode(wire.parse(payload(metrics)).metrics, names, bounds)


def read_one(one, names=None):
    (found,) = read(one, names=names).metrics
    SCHEMA.validate({"type": "NDATA", "group": "g", "node": "n", "metrics": [found]})
    return found


def names_of(*metrics):
    born = wire.parse(payload(metrics, timestamp=5))
    return names_of_birth(born, metrics_max=10, name_max_bytes=20)


def test_a_metric_with_everything():
    one = metric(
        "Temp/Inlet",
        whole(10, 0xFFFFFFFE),
        alias=3,
        datatype=3,
        timestamp=1700000000000,
        more=whole(5, 1) + whole(6, 1),
    )
    assert read_one(one) == {
        "name": "Temp/Inlet", "alias": 3, "type": "Int32", "timestamp": 1700000000000, "value": -2,
        "historical": True, "transient": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("datatype", "value", "found"),
    [
        (9, single(12, 12.1), 12.1),
        (10, double(13, 0.1), 0.1),
        (11, whole(14, 1), True),
        (12, chunk(15, "x"), "x"),
        (13, whole(11, 1700000000001), 1700000000001),
        (17, chunk(16, b"\0"), "AA=="),
        (8, whole(11, (1 << 64) - 1), (1 << 64) - 1),
    ],
    ids=["float", "double", "boolean", "string", "date-time", "bytes", "largest"],
)
def test_values(datatype, value, found):
    assert read_one(metric("m", value, datatype=datatype))["value"] == found


def test_null_is_null_whatever_stands_beside_it():
    assert read_one(metric("m", datatype=3, more=whole(7, 1)))["value"] is None
    assert read_one(metric("m", whole(10, 5), datatype=3, more=whole(7, 1)))["value"] is None
    assert read_one(metric("m", datatype=3))["value"] is None


def test_aliases_get_their_names_and_types():
    names = names_of(metric("a", datatype=1, alias=0), metric("b", datatype=10, alias=7), metric("c", datatype=2))
    found = read(metric(alias=0, value=whole(10, 0xFF)), metric(alias=7, value=double(13, 1.5)),
                 metric("c", whole(10, 0xFFFF)), names=names)  # fmt: skip
    assert found.metrics == [
        {"name": "a", "alias": 0, "type": "Int8", "value": -1},
        {"name": "b", "alias": 7, "type": "Double", "value": 1.5},
        {"name": "c", "type": "Int16", "value": -1},
    ]
    assert found.strangers == 0


def test_what_a_message_says_of_a_type_counts_before_what_the_birth_said():
    names = names_of(metric("a", datatype=1, alias=0))
    (found,) = read(metric(alias=0, datatype=5, value=whole(10, 0xFF)), names=names).metrics
    assert found == {"name": "a", "alias": 0, "type": "UInt8", "value": 255}


def test_members_of_templates_have_names_of_their_own():
    names = names_of(metric("a", datatype=1, alias=0), metric("t", datatype=19, alias=1))
    member = metric(alias=0, value=whole(10, 0xFF))
    found = read(metric(alias=1, value=chunk(18, chunk(2, member))), names=names)
    assert found.metrics[0]["value"]["metrics"] == [{"alias": 0, "value": 255}]
    assert found.strangers == 0


def test_what_nobody_knows_is_kept_and_counted():
    found = read(metric(alias=9, value=whole(10, 0xFF)), metric("z", whole(10, 1), datatype=3), names=names_of())
    assert found.metrics == [{"alias": 9, "value": 255}, {"name": "z", "type": "Int32", "value": 1}]
    assert found.strangers == 2


def test_a_data_set():
    rows = chunk(4, chunk(1, whole(1, 0xFF)) + chunk(1, chunk(6, "x"))) + chunk(4, chunk(1, b"") + chunk(1, b""))
    data = whole(1, 2) + chunk(2, "n") + chunk(2, "s") + whole(3, 1) + whole(3, 12) + rows
    assert read_one(metric("m", chunk(17, data), datatype=16))["value"] == {
        "columns": ["n", "s"], "types": ["Int8", "String"], "rows": [[-1, "x"], [None, None]],
    }  # fmt: skip


def test_a_template():
    parameter = chunk(1, "p") + whole(2, 3) + whole(3, 0xFFFFFFFF)
    inner = metric("x", whole(10, 2), datatype=5, alias=1)
    template = chunk(1, "v1") + chunk(2, inner) + chunk(3, parameter) + chunk(4, "Motor") + whole(5, 0)
    names = names_of(metric("m", datatype=19, alias=1))
    assert read(metric(alias=1, value=chunk(18, template)), names=names).metrics[0]["value"] == {
        "definition": False, "reference": "Motor", "version": "v1",
        "parameters": [{"name": "p", "type": "Int32", "value": -1}],
        "metrics": [{"name": "x", "alias": 1, "type": "UInt8", "value": 2}],
    }  # fmt: skip


def test_properties_and_metadata():
    inner = chunk(1, "deep") + chunk(2, whole(1, 9) + single(5, 0.5))
    both = whole(1, 21) + chunk(10, chunk(1, inner))
    values = [
        whole(1, 3) + whole(3, 192),
        whole(1, 12) + whole(2, 1) + chunk(8, "V"),
        whole(1, 20) + chunk(9, inner),
        both,
    ]
    keys = ["Quality", "unit", "more", "list"]
    properties = b"".join(chunk(1, key) for key in keys) + b"".join(chunk(2, value) for value in values)
    metadata = whole(1, 1) + chunk(2, "text/plain") + whole(3, 7) + whole(4, 2) + chunk(5, "f") + chunk(7, "m")
    one = read_one(metric("m", chunk(16, b""), datatype=18, more=chunk(9, properties) + chunk(8, metadata)))
    deep = {"deep": {"type": "Float", "value": 0.5}}
    assert one["properties"] == {
        "Quality": {"type": "Int32", "value": 192}, "unit": {"type": "String", "value": None},
        "more": {"type": "PropertySet", "value": deep}, "list": {"type": "PropertySetList", "value": [deep]},
    }  # fmt: skip
    assert one["metadata"] == {
        "content_type": "text/plain", "size": 7, "seq": 2, "file_name": "f", "md5": "m", "multi_part": True,
    }  # fmt: skip


def nested(levels):
    """A template with so many more within it."""
    template = b""
    for _ in range(levels):
        template = chunk(2, metric("m", chunk(18, template), datatype=19))
    return metric("m", chunk(18, template), datatype=19)


def test_nesting_is_bounded():
    read(nested(2))
    with pytest.raises(NotSparkplug, match="nested"):
        read(nested(3))
    properties = b""
    for _ in range(5):
        properties = chunk(1, "k") + chunk(2, whole(1, 20) + chunk(9, properties))
    with pytest.raises(NotSparkplug, match="nested"):
        read(metric("m", more=chunk(9, properties)))


@pytest.mark.parametrize(
    "one",
    [
        metric("m", chunk(17, chunk(2, "c") + whole(3, 1) + chunk(4, chunk(1, b"")) * 60), datatype=16),
        metric("m", chunk(16, bytes(120)), datatype=22),
        metric("m", more=chunk(9, chunk(1, "k") * 101 + chunk(2, b"") * 101)),
        metric("m", chunk(18, chunk(3, b"") * 101), datatype=19),
        metric("m", chunk(18, chunk(2, b"") * 101), datatype=19),
        metric("m", chunk(17, chunk(4, b"") * 101), datatype=16),
    ],
    ids=["cells", "elements", "properties", "parameters", "members", "empty rows"],
)
def test_values_are_bounded_together(one):
    bounds = Bounds(values_max=60, nesting_max=3)
    with pytest.raises(NotSparkplug, match="more than 60 values"):
        read(one, bounds=bounds)


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (metric("m", chunk(17, chunk(2, "a")), datatype=16), "columns"),
        (metric("m", chunk(17, whole(1, 2) + chunk(2, "a") + whole(3, 1)), datatype=16), "columns"),
        (metric("m", chunk(17, chunk(2, "a") + whole(3, 1) + chunk(4, b"")), datatype=16), "cells"),
        (metric("m", more=chunk(9, chunk(1, "a"))), "values as keys"),
        (metric("m", more=chunk(9, (chunk(1, "a") + chunk(2, b"")) * 2)), "twice"),
        (metric("m", chunk(17, b""), datatype=3), "Int32 is a DataSet"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_said(one, why):
    with pytest.raises(NotSparkplug, match=why):
        read(one)


def test_names_of_a_birth():
    names = names_of(metric("a", datatype=3, alias=1), metric("b", datatype=12))
    again = Names.decode(names.encode())
    assert again == names
    assert (again.born, len(again), again.by_alias) == (5, 2, {1: ("a", 3)})
    assert names != names_of(metric("a", datatype=3, alias=2), metric("b", datatype=12))


@pytest.mark.parametrize(
    ("metrics", "why"),
    [
        ([metric(alias=1)], "no name"),
        ([metric("")], "no name"),
        ([metric("a"), metric("a")], "same name"),
        ([metric("a", alias=1), metric("b", alias=1)], "same alias"),
        ([metric("n" * 21)], "more than 20 bytes"),
        ([metric(f"{index}") for index in range(11)], "the 10 that"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_births_that_name_nothing_clearly(metrics, why):
    with pytest.raises(NotSparkplug, match=why):
        names_of(*metrics)


def test_the_object_that_a_record_is():
    names = names_of(metric("a", datatype=3, alias=1))
    data = wire.parse(
        payload([metric(alias=1, value=whole(10, 7))], seq=0, timestamp=8) + chunk(4, "u") + chunk(5, b"\1")
    )
    topic = Topic("DDATA", "g", "n", "d")
    found = record_of(topic, data, decode(data.metrics, names, BOUNDS).metrics, names, "gap")
    assert json.loads(encode(found)) == {
        "type": "DDATA", "group": "g", "node": "n", "device": "d", "timestamp": 8, "seq": 0, "born": 5, "stale": "gap",
        "metrics": [{"name": "a", "alias": 1, "type": "Int32", "value": 7}], "uuid": "u", "body": "AQ==",
    }  # fmt: skip
    bare = wire.parse(b"")
    assert record_of(Topic("NDEATH", "g", "n"), bare, [], None, None) == {
        "type": "NDEATH", "group": "g", "node": "n", "metrics": [],
    }  # fmt: skip


def test_a_text_that_is_not_utf8_is_no_payload():
    with pytest.raises(NotSparkplug):
        wire.parse(chunk(4, b"\xff"))


fields = st.integers(1, 20)
junk = st.recursive(
    st.binary(max_size=12),
    lambda inner: st.lists(
        st.one_of(
            st.builds(whole, fields, st.integers(0, (1 << 64) - 1)),
            st.builds(chunk, fields, inner),
            st.builds(single, fields, st.floats(width=32)),
            st.builds(double, fields, st.floats()),
        ),
        max_size=6,
    ).map(b"".join),
    max_leaves=30,
)
"""Bytes that are protobuf messages of some kind, or nearly."""


@given(junk)
@example(chunk(2, metric("m", chunk(17, b""), datatype=0)))
@example(chunk(2, metric("m", more=chunk(9, chunk(1, "k") + chunk(2, whole(1, 16) + chunk(8, "x"))))))
def test_noise_is_json_or_the_one_error(data):
    names = names_of(metric("a", datatype=3, alias=1))
    try:
        found = wire.parse(data)
        births = names_of_birth(found, metrics_max=10, name_max_bytes=20)
        assert Names.decode(births.encode()) == births
    except NotSparkplug:
        pass
    try:
        found = wire.parse(data)
        metrics = decode(found.metrics, names, BOUNDS).metrics
    except NotSparkplug:
        return
    record = record_of(Topic("NDATA", "g", "n"), found, metrics, names, "gap")
    assert msgspec.json.decode(encode(record)) == record
    SCHEMA.validate(record)
