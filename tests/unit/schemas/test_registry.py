"""Schemas of a registry over real HTTP: asked for once, kept on disk, and nobody waits for them."""

from __future__ import annotations

import struct
import time

import pytest

from bridge.config import Config, Gateway, Route, SchemaRegistry
from bridge.config import Schema as Settings
from bridge.durable import replace_file
from bridge.schemas import wire_format
from bridge.schemas.of_routes import open_registry, schemas_of
from bridge.schemas.schema import Misfit, Pending
from tests.support.registry import RegistryServer
from tests.unit.schemas.protos import reading_file

READING = {"type": "record", "name": "Reading", "fields": [{"name": "n", "type": "int"}]}
NEWER = {"type": "record", "name": "Reading", "fields": [{"name": "n", "type": "int"}, {"name": "m", "type": "int"}]}
JSON = {"type": "object", "required": ["n"]}
GOOD, BAD = b"\x02", b"\x02\x02\x02"


@pytest.fixture
def server():
    with RegistryServer() as running:
        running.add(7, "telemetry-value", READING)
        yield running


@pytest.fixture
def schema_of(tmp_path):
    """`schema_of(url, registry=…, subject=…, **registry settings)`: a route's schema, as the daemon makes it."""
    registries = []

    def make(url, *, registry="device", subject=None, message=None, now=time.monotonic, **settings):
        wanted = Settings(registry=registry, subject=subject, message=message)
        settings = {"retry": 0.05, "timeout": 5.0} | settings
        config = Config(
            Gateway("gw", tmp_path),
            routes=(Route("#", "t", schema=wanted),),
            schema_registry=SchemaRegistry(url, **settings),
        )
        made = open_registry(config, {}, replace_file, now)
        registries.append(made)
        return schemas_of(config, made)["#"]

    yield make
    for each in registries:
        each.close()


def fit(schema, payload):
    """As the pipeline does it: again while it is pending."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            return schema.fit(payload)
        except Pending:
            time.sleep(0.005)
    raise AssertionError("pending for ever")


def misfit(schema, payload):
    with pytest.raises(Misfit) as caught:
        fit(schema, payload)
    return caught.value.error


def framed(schema_id, value=GOOD):
    return wire_format.prefix(schema_id) + value


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_devices_that_frame_their_payloads(server, schema_of):
    schema = schema_of(server.url)
    with pytest.raises(Pending):
        schema.fit(framed(7))
    assert fit(schema, framed(7)) == framed(7)
    assert misfit(schema, framed(7, BAD)) == "schema-mismatch"
    assert misfit(schema, GOOD) == "schema-mismatch"
    assert misfit(schema, b"") == "schema-mismatch"
    assert misfit(schema, framed(8)) == "schema-unknown"
    for _ in range(100):
        assert schema.fit(framed(7))
    assert server.asked.count("/schemas/ids/7") == 1, "asked once"


def test_an_id_has_to_belong_to_the_subject(server, schema_of):
    server.add(8, "other", READING)
    schema = schema_of(server.url, subject="telemetry-value")
    assert fit(schema, framed(7))
    assert misfit(schema, framed(8)) == "schema-unknown"
    server.subjects["telemetry-value"].append(8)
    until(lambda: _fits(schema, framed(8)))


def _fits(schema, payload):
    try:
        return fit(schema, payload)
    except Misfit:
        return None


def test_the_gateway_frames_with_the_latest_schema(server, schema_of):
    schema = schema_of(server.url, registry="gateway", subject="telemetry-value", refresh=0.01)
    assert fit(schema, GOOD) == b"\0\0\0\0\x07" + GOOD
    assert misfit(schema, BAD) == "schema-mismatch"
    server.add(300, "telemetry-value", NEWER)
    until(lambda: _fits(schema, b"\x02\x04") == b"\0\0\0\x01\x2c\x02\x04")
    assert misfit(schema, GOOD) == "schema-mismatch"


def test_json_and_protobuf(server, schema_of):
    server.add(20, "json", JSON, "JSON")
    server.add(21, "proto", reading_file().SerializeToString(), "PROTOBUF")
    assert fit(schema_of(server.url, registry="gateway", subject="json"), b'{"n":1}') == framed(20, b'{"n":1}')
    reading = b"\x0a\x05dev-1\x11" + struct.pack("<d", 21.5)
    named = schema_of(server.url, registry="gateway", subject="proto", message="site.Reading")
    assert fit(named, reading) == b"\0\0\0\0\x15\x02\x02" + reading
    first = schema_of(server.url, registry="gateway", subject="proto")
    assert fit(first, b"\x08\x01") == b"\0\0\0\0\x15\x00\x08\x01"
    device = schema_of(server.url)
    assert fit(device, b"\0\0\0\0\x15\x02\x02" + reading)
    assert fit(device, b"\0\0\0\0\x15\x04\x02\x00\x0a\x01a"), "Reading.Place"
    for rest in (b"", b"\x02", b"\x02\x08", b"\x80\x80\x80\x80\x80\x80", b"\x01", b"\x02\x02\xff"):
        assert misfit(device, b"\0\0\0\0\x15" + rest) == "schema-mismatch"
    assert misfit(schema_of(server.url, registry="gateway", subject="proto", message="No"), b"") == "schema-unavailable"


def test_an_outage_and_a_restart_do_not_need_it(server, schema_of):
    assert fit(schema_of(server.url), framed(7))
    assert fit(schema_of(server.url, registry="gateway", subject="telemetry-value"), GOOD)
    server.close()
    device, gateway = schema_of(server.url), schema_of(server.url, registry="gateway", subject="telemetry-value")
    for _ in range(3):
        assert fit(device, framed(7))
        assert fit(gateway, GOOD) == framed(7)
        time.sleep(0.06)
    assert misfit(device, framed(9)) == "schema-unavailable"
    with RegistryServer(server.port) as back:
        back.add(9, "telemetry-value", READING)
        until(lambda: _fits(device, framed(9)))
        until(lambda: _fits(gateway, GOOD) == framed(9))


def test_a_registry_that_does_not_answer_holds_nobody_for_longer_than_its_time_out(server, schema_of):
    server.silent.set()
    schema = schema_of(server.url, timeout=0.2, retry=60.0)
    with pytest.raises(Pending):
        schema.fit(framed(7))
    assert misfit(schema, framed(7)) == "schema-unavailable"
    server.silent.clear()


def test_ids_without_end_are_bounded(server, schema_of):
    server.silent.set()
    schema = schema_of(server.url, timeout=0.2, retry=2.0, schemas_max=100)
    answers = []
    for number in range(100, 300):
        try:
            schema.fit(framed(number))
        except (Pending, Misfit) as error:
            answers.append(error)
    assert sum(isinstance(each, Pending) for each in answers) <= 66
    assert {each.error for each in answers if isinstance(each, Misfit)} == {"schema-unavailable"}
    for number in range(100, 160):
        assert misfit(schema, framed(number)) == "schema-unavailable"
    assert len(server.asked) < 30, "a registry that does not answer is not asked for each"
    server.silent.clear()
    until(lambda: _fits(schema, framed(7)))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"schema": {"type": "array", "items": "null"}}, "takes no bytes"),
        ({"schema": READING, "references": [{"name": "a", "subject": "b", "version": 1}]}, "refers to other schemas"),
        ({"schema": {}, "kind": "XSD"}, "'XSD' is not known"),
    ],
)
def test_schemas_that_cannot_be_used(server, schema_of, more, words):
    server.add(30, "odd", **more)
    with pytest.raises(Misfit) as caught:
        fit(schema_of(server.url), framed(30))
    assert caught.value.error == "schema-unavailable"
    assert words in str(caught.value)


def test_logs_in_with_a_password_from_a_file(schema_of, tmp_path):
    (tmp_path / "password").touch(0o600)
    (tmp_path / "password").write_text("s3cret\n")
    with RegistryServer(account=("gw", "s3cret")) as server:
        server.add(7, "telemetry-value", READING)
        assert misfit(schema_of(server.url), framed(7)) == "schema-unavailable"
        assert fit(schema_of(server.url, username="gw", password_file=tmp_path / "password"), framed(7))


def test_what_is_damaged_on_disk_is_asked_for_again(server, schema_of, tmp_path):
    assert fit(schema_of(server.url), framed(7))
    (kept,) = tmp_path.glob("schemas/*/id-7.json")
    kept.write_text("{")
    assert fit(schema_of(server.url), framed(7))
    assert kept.read_text() != "{"
    assert server.asked.count("/schemas/ids/7") == 2
