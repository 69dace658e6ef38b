"""What fits, what does not, and what no payload may do to the gateway."""

from __future__ import annotations

import io
import json
import struct

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import Schema as Settings
from bridge.schemas.avro_schema import AvroSchema
from bridge.schemas.files import load
from bridge.schemas.json_schema import JsonSchema
from bridge.schemas.protobuf_schema import ProtobufFile, from_descriptor_set
from bridge.schemas.schema import Misfit, SchemaError
from tests.unit.schemas.protos import reading_file, reading_set, required_set

READING = {
    "type": "object",
    "required": ["device", "degrees"],
    "properties": {
        "device": {"type": "string", "pattern": "^dev-[0-9]+$"},
        "degrees": {"type": "number", "maximum": 90},
    },
    "additionalProperties": False,
}
AVRO = {
    "type": "record",
    "name": "site.Reading",
    "fields": [
        {"name": "device", "type": "string"},
        {"name": "degrees", "type": "double"},
        {"name": "unit", "type": ["null", {"type": "enum", "name": "Unit", "symbols": ["C", "F"]}]},
        {"name": "more", "type": {"type": "array", "items": {"type": "map", "values": "Unit"}}},
    ],
}
SECRET = "s3cret"


def misfit(schema, payload):
    with pytest.raises(Misfit) as caught:
        schema.fit(payload)
    assert caught.value.error == "schema-mismatch"
    assert SECRET not in str(caught.value), "what a payload holds is for its readers only"
    return str(caught.value)


def test_json_that_fits_goes_on_as_it_is():
    payload = b' {"device": "dev-1", "degrees": 21.5} '
    assert JsonSchema(json.dumps(READING).encode()).fit(payload) is payload


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b'{"device": "dev-1", "degrees": 91}', "#/properties/degrees/maximum"),
        (b'{"device": "s3cret", "degrees": 1}', "#/properties/device/pattern"),
        (b'{"device": "dev-1"}', "#/required"),
        (b'{"device": "dev-1", "degrees": 1, "s3cret": 2}', "#/additionalProperties"),
        (b'{"device": "dev-1", "degrees": NaN}', "it is not JSON"),
        (b'{"s3cret', "it is not JSON"),
        (b"", "it is not JSON"),
        (b'{"device": "\xff s3cret", "degrees": 1}', "it is not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_does_not_fit(payload, words):
    assert words in misfit(JsonSchema(json.dumps(READING).encode()), payload)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "an object"),
        (b'{"type": "objekt"}', "objekt"),
        (b'{"pattern": "("}', "regex"),
        (b'{"pattern": "(?=a)b"}', "regex"),
        (b'{"$ref": "http://127.0.0.1:9/other.json"}', "Retrieval is disabled"),
        (b'{"$ref": "file:///etc/hostname"}', "Retrieval is disabled"),
        (b'{"$ref": "#/nowhere"}', "/nowhere"),
    ],
)
def test_what_is_no_json_schema(text, words):
    with pytest.raises(SchemaError) as caught:
        JsonSchema(text)
    assert words in str(caught.value)


def test_no_pattern_takes_long():
    schema = JsonSchema(rb'{"items": {"pattern": "^(a+)+$"}}')
    payload = json.dumps(["a" * 2000 + "!"] * 50).encode()
    assert "pattern" in misfit(schema, payload)  # with backtracking: 2 ** 2000 steps


def test_json_as_deep_as_can_be_read_is_judged():
    schema = JsonSchema(b'{"type": "array", "items": {"$ref": "#"}}')
    depth = 900
    assert schema.fit(b"[" * depth + b"]" * depth)
    assert misfit(schema, b"[" * depth + b"1" + b"]" * depth)


def avro(value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(AVRO), value)
    return out.getvalue()


def test_avro_that_fits():
    payload = avro({"device": "dev-1", "degrees": 21.5, "unit": "F", "more": [{"a": "C"}, {}]})
    assert AvroSchema(json.dumps(AVRO).encode()).fit(payload) is payload


@given(st.binary(max_size=60))
def test_avro_is_one_value_and_nothing_else(payload):
    schema = AvroSchema(b'{"type": "record", "name": "R", "fields": [{"name": "s", "type": "string"}]}')
    try:
        schema.fit(payload)
    except Misfit:
        return
    size = payload[0] >> 1
    assert size < 64
    assert len(payload) == 1 + size
    payload[1:].decode()


@pytest.mark.parametrize("cut", [0, 1, 5, 13, 15])
def test_avro_cut_short_or_longer(cut):
    schema, payload = (
        AvroSchema(json.dumps(AVRO).encode()),
        avro({"device": "d", "degrees": 1.0, "unit": "F", "more": []}),
    )
    misfit(schema, payload[:cut] if cut < len(payload) else payload + b"\0")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ('{"type": "array", "items": "null"}', "takes no bytes"),
        (
            '{"type": "array", "items": {"type": "record", "name": "E", "fields": [{"name": "n", "type": "null"}]}}',
            "no bytes",
        ),
        ('{"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}', "takes no bytes"),
        ('{"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}', "holds itself"),
        (
            '{"type": "record", "name": "a.N", "fields": [{"name": "n", "type":'
            ' {"type": "record", "name": "M", "fields": [{"name": "n", "type": {"type": "map", "values": "a.N"}}]}}]}',
            "holds itself",
        ),
        ('{"type": "record", "name": "N", "fields": [{"name": "n", "type": "M"}]}', "no Avro schema"),
        ('"strin"', "no Avro schema"),
        ("5", "no Avro schema"),
        ("{", "not JSON"),
    ],
)
def test_avro_schemas_that_are_none_or_that_a_few_bytes_could_do_harm_with(schema, words):
    with pytest.raises(SchemaError) as caught:
        AvroSchema(schema.encode())
    assert words in str(caught.value)


def test_protobuf():
    schema = from_descriptor_set(reading_set(), "site.Reading")
    payload = b"\x0a\x05dev-1\x11" + struct.pack("<d", 21.5)
    assert schema.fit(payload) is payload
    assert schema.fit(payload + b"\x78\x01"), "a field that only newer readers know"
    assert "site.Reading" in misfit(schema, b'{"device": "s3cret"}')
    assert misfit(schema, payload[:-1])
    assert "required" in misfit(from_descriptor_set(required_set(), "site.Old"), b"")


def test_protobuf_messages_stand_in_each_other_only_so_deep():
    schema = from_descriptor_set(reading_set(), "site.Reading")
    assert misfit(schema, b"\x7b" * 5000)


@pytest.mark.parametrize(
    ("data", "message", "words"),
    [(b"\xff", "site.Reading", "no protobuf descriptor"), (reading_set(), "Reading", "no message 'Reading'")],
)
def test_what_is_no_protobuf_schema(data, message, words):
    with pytest.raises(SchemaError) as caught:
        from_descriptor_set(data, message)
    assert words in str(caught.value)


def test_places_of_messages_in_their_file():
    file = ProtobufFile(reading_file().SerializeToString())
    assert file.named(None).indexes == (0,)
    assert file.named("site.Reading").indexes == (1,)
    assert file.named("site.Reading.Place").indexes == (1, 0)
    assert file.at((1, 0)).indexes == (1, 0)
    assert [file.at(place) for place in ((2,), (1, 1), (0, 0), (-1,), ())] == [None] * 5


def test_files_are_named_in_what_is_wrong(tmp_path):
    with pytest.raises(SchemaError, match=r"nowhere\.json cannot be read: No such file"):
        load(Settings(json=tmp_path / "nowhere.json"))
    (tmp_path / "bad.avsc").write_text('{"type": "array"}')
    with pytest.raises(SchemaError, match=r"bad\.avsc: "):
        load(Settings(avro=tmp_path / "bad.avsc"))


def test_a_large_payload_is_not_looked_at(tmp_path):
    (tmp_path / "any.json").write_text("true")
    schema = load(Settings(json=tmp_path / "any.json", max_bytes=10))
    assert schema.fit(b'"12345678"')
    assert "more than schema.max_bytes (10)" in misfit(schema, b'"123456789"')
