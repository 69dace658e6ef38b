"""From a device into a real Kafka, framed for a schema registry, and read by Confluent's own deserializers."""

from __future__ import annotations

import struct

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import DESCRIPTOR as TIMESTAMP

from bridge.schemas.wire_format import prefix
from tests.interop.gateway import Gateway, wait_until
from tests.interop.paho_device import Device
from tests.support.registry import RegistryServer
from tests.unit.schemas.protos import reading_file

AVRO = {"type": "record", "name": "Reading", "fields": [{"name": "n", "type": "int"}]}
JSON = {"type": "object", "title": "Reading", "required": ["n"], "properties": {"n": {"type": "integer"}}}
ROUTE = """
[[routes]]
filter = "devices/{{device}}/{kind}/#"
topic = "{topic}-{kind}"
seal = "plain"
schema = {schema}
"""


@pytest.fixture
def registry():
    with RegistryServer() as server:
        server.add(1, "avro-value", AVRO)
        server.add(2, "json-value", JSON, "JSON")
        server.add(3, "protobuf-value", reading_file().SerializeToString(), "PROTOBUF")
        yield server


@pytest.fixture
def gateway(kafka, registry, tmp_path, request):
    topic = request.node.name
    schemas = {
        "avro": '{ registry = "gateway", subject = "avro-value" }',
        "json": '{ registry = "gateway", subject = "json-value" }',
        "protobuf": '{ registry = "gateway", subject = "protobuf-value", message = "site.Reading" }',
        "framed": '{ registry = "device", subject = "avro-value" }',
    }
    routes = "".join(ROUTE.format(kind=kind, topic=topic, schema=schema) for kind, schema in schemas.items())
    sink = f'[kafka]\nbootstrap_servers = ["{kafka.address}"]\ndead_letter_topic = "{topic}-dead"\n'
    registry_table = f'[schema_registry]\nurl = "{registry.url}"\nretry = "200 ms"\n'
    made = Gateway(tmp_path, registry_table, sink=sink, routes=routes)
    yield made.start()
    if made.running:
        made.kill()


def values(read, kafka, topic, count):
    def found():
        try:
            return [each.value() for each in read(kafka.address, topic)]
        except KeyError:
            return []

    wait_until(lambda: len(found()) >= count, f"{count} records in {topic}", 60)
    return found()


def test_what_we_write_confluents_deserializers_read(kafka, registry, gateway, read, request):
    topic = request.node.name
    reading = b"\x0a\x05dev-1\x11" + struct.pack("<d", 21.5)
    with Device(gateway.port, "d") as device:
        for kind, payload in (
            ("avro", b"\x54"),
            ("json", b'{"n": 42}'),
            ("protobuf", reading),
            ("framed", prefix(1) + b"\x54"),
        ):
            assert device.publish(f"devices/d/{kind}/t", payload, 1) == 0
        for kind, payload in (("avro", b"\x54\0"), ("framed", prefix(2) + b"\x54"), ("framed", b"\x54")):
            assert device.publish(f"devices/d/{kind}/t", payload, 1) == 0
    client = SchemaRegistryClient({"url": registry.url})
    for kind in ("avro", "framed"):
        (value,) = values(read, kafka, f"{topic}-{kind}", 1)
        assert AvroDeserializer(client)(value, SerializationContext(f"{topic}-{kind}", MessageField.VALUE)) == {"n": 42}
    (value,) = values(read, kafka, f"{topic}-json", 1)
    context = SerializationContext(f"{topic}-json", MessageField.VALUE)
    assert JSONDeserializer(None, schema_registry_client=client)(value, context) == {"n": 42}
    (value,) = values(read, kafka, f"{topic}-protobuf", 1)
    pool = DescriptorPool()
    for serialized in (TIMESTAMP.serialized_pb, reading_file().SerializeToString()):
        pool.AddSerializedFile(serialized)
    kind = GetMessageClass(pool.FindMessageTypeByName("site.Reading"))
    reader = ProtobufDeserializer(kind, {"use.deprecated.format": False}, client)
    message = reader(value, SerializationContext(f"{topic}-protobuf", MessageField.VALUE))
    assert (message.device, message.degrees) == ("dev-1", 21.5)
    assert values(read, kafka, f"{topic}-dead", 3) == [b"\x54\0", prefix(2) + b"\x54", b"\x54"]


def test_an_outage_of_the_registry_over_a_restart_costs_only_what_was_never_known(
    kafka, registry, gateway, read, request
):
    topic = request.node.name
    with Device(gateway.port, "d") as device:
        assert device.publish("devices/d/avro/t", b"\x02", 1) == 0
    registry.close()
    gateway.kill()
    gateway.start()
    with Device(gateway.port, "d") as device:
        assert device.publish("devices/d/avro/t", b"\x04", 1) == 0
        assert device.publish("devices/d/framed/t", prefix(1) + b"\x06", 1) == 0
        assert device.publish("devices/d/framed/t", prefix(99) + b"\x08", 1) == 0
    assert values(read, kafka, f"{topic}-avro", 2) == [prefix(1) + b"\x02", prefix(1) + b"\x04"]
    assert values(read, kafka, f"{topic}-framed", 1) == [prefix(1) + b"\x06"]
    (letter,) = read(kafka.address, f"{topic}-dead")
    assert letter.value() == prefix(99) + b"\x08"
    assert dict(letter.headers())["error"] == b"schema-unavailable"
