"""What readers of the topics see, read by somebody else's client."""

from __future__ import annotations

import time

from confluent_kafka import Producer

from bridge.log.record import (
    DOCUMENT,
    EVENT,
    RELEASE,
    RETAIN,
    TOMBSTONE,
    encode,
    encode_context,
    encode_headers,
)
from tests.support.kafka.feed import message


def forward(site):
    site.feed.sync()
    site.start()
    site.wait()


def test_headers_key_value_and_time(kafka, make_site, read):
    site = make_site(kafka.address)
    own = encode_headers([("content-type", b"application/json"), ("user-unit", "°C".encode()), ("seal-key", b"\0\xff")])
    before = time.time_ns() // 1_000_000
    site.feed.append(message("dev-1", b"\x00payload", site.topic, headers=own, flags=1 | RETAIN))
    forward(site)
    (found,) = read(kafka.address, site.topic)
    assert (found.key(), found.value()) == (b"dev-1", b"\x00payload")
    assert before <= found.timestamp()[1] <= time.time_ns() // 1_000_000
    assert found.headers() == [
        ("mqtt-topic", b"devices/dev-1/telemetry/t"),
        ("mqtt-qos", b"1"),
        ("mqtt-retain", b"true"),
        ("gateway", site.gateway.encode()),
        ("lane", b"normal"),
        ("log", site.feed.log_id.hex().encode()),
        ("clock", b"synchronised"),
        ("content-type", b"application/json"),
        ("user-unit", "°C".encode()),
        ("seal-key", b"\0\xff"),
        ("seq", b"1"),
    ]


def test_documents_events_and_what_stays_here(kafka, make_site, read):
    site = make_site(kafka.address)
    document = encode_context("dev-1", "", site.topic)
    event = encode_context(site.gateway, "", site.topic)
    site.feed.append(encode(DOCUMENT, 0, 0, time.time_ns(), 0, document, b"", b'{"device": "dev-1"}'))
    site.feed.append(encode(RELEASE, 0, 9, time.time_ns(), 0, document, b"", b""))
    site.feed.append(encode(DOCUMENT, TOMBSTONE, 0, time.time_ns(), 0, document, b"", b""))
    site.feed.append(encode(EVENT, 0, 0, time.time_ns(), 0, event, b"", b'{"type": "started"}'))
    forward(site)
    found = {(each.key(), each.value()): each.headers() for each in read(kafka.address, site.topic)}
    gateway = ("gateway", site.gateway.encode())
    assert found == {
        (b"dev-1", b'{"device": "dev-1"}'): [gateway, ("seq", b"1")],
        (b"dev-1", None): [gateway, ("seq", b"3")],
        (site.gateway.encode(), b'{"type": "started"}'): [gateway],
    }


def test_partition_is_the_java_clients(kafka, make_site, make_topic, read):
    site = make_site(kafka.address)
    make_topic(kafka.address, site.topic, partitions=7)
    make_topic(kafka.address, f"{site.topic}-reference", partitions=7)
    devices = [f"dev-{'x' * (number % 9)}{number}" for number in range(60)] + ["gerät-ü", "a"]
    site.feed.publish(devices, 2)
    reference = Producer({"bootstrap.servers": kafka.address, "partitioner": "murmur2_random"})
    for device in devices:
        reference.produce(f"{site.topic}-reference", key=device.encode(), value=b"")
    reference.flush(30)
    forward(site)
    ours = {each.key(): each.partition() for each in read(kafka.address, site.topic)}
    theirs = {each.key(): each.partition() for each in read(kafka.address, f"{site.topic}-reference")}
    assert ours == theirs
    assert len(set(ours.values())) == 7


def test_large_values_and_odd_times(kafka, make_site, read):
    site = make_site(kafka.address)
    context = encode_context("dev-1", "t", site.topic)
    values = [bytes([number]) * size for number, size in enumerate((0, 1, 63, 64, 8191, 8192, 20_000, 900_000))]
    times = [10**12 + offset for offset in (0, -5, 100, 70_000, -9_000_000, 20_000, 20_001, 3)]
    for value, ms in zip(values, times, strict=True):
        site.feed.append(encode(1, 1, 0, ms * 1_000_000, 0, context, b"", value))
    forward(site)
    found = read(kafka.address, site.topic)
    assert [each.value() for each in found] == values
    assert [each.timestamp()[1] for each in found] == times
