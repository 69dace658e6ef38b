"""What routes say about key, partition and format, in a real Kafka, read by others' clients."""

from __future__ import annotations

import json

from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from confluent_kafka import Producer

from bridge.log.record import CLOCK_SYNCHRONISED, MESSAGE, encode, encode_context, encode_headers

ROUTE = """
[[routes]]
filter = "{filter}"
topic = "{topic}"
seal = "plain"
{settings}
"""
NOW_NS = 1_763_730_300_123_000_000


def publish(site, device, topic, count, payload=b"{}"):
    context, headers = (
        encode_context(device, topic, site.topic),
        encode_headers([("content-type", b"application/json")]),
    )
    for _ in range(count):
        site.feed.append(encode(MESSAGE, 1 | CLOCK_SYNCHRONISED, 0, NOW_NS, 0, context, headers, payload))


def forward(site):
    site.feed.sync()
    site.start()
    site.wait()


def make(make_site, kafka, topic, **settings):
    """A site whose routes go to `topic`; by filter, what each says."""
    routes = "".join(ROUTE.format(filter=each, topic=topic, settings=said) for each, said in settings.items())
    return make_site(kafka.address, topic=topic, extra=f'dead_letter_topic = "{topic}-dead"\n{routes}')


def numbers(messages):
    return [int(dict(each.headers())["seq"]) for each in messages]


def test_cloud_events(kafka, make_site, read, request):
    topic = request.node.name
    site = make(make_site, kafka, topic, **{"+/#": 'format = "cloudevents"'})
    publish(site, "dev-1", "devices/dev-1/telemetry/t", 3, json.dumps({"degrees": 21.5}).encode())
    forward(site)
    events = [
        from_kafka_event(KafkaMessage(dict(each.headers()), each.key(), each.value()))
        for each in read(kafka.address, topic)
    ]
    assert [each.get_id() for each in events] == [f"{site.feed.log_id.hex()}/normal/{seq}" for seq in (1, 2, 3)]
    assert {each.get_source() for each in events} == {f"/busbridge/{site.gateway}/dev-1"}
    assert {each.get_time().isoformat() for each in events} == {"2025-11-21T13:05:00.123000+00:00"}
    assert events[0].get_data() == {"degrees": 21.5}


def test_every_record_keeps_its_own_trace(kafka, make_site, read, request):
    topic = request.node.name
    site = make(make_site, kafka, topic, **{"+/#": ""})
    context = encode_context("dev-1", "t", topic)
    parents = [b"00-%032x-%016x-01" % (number, number) for number in range(1, 301)]
    for parent in parents:
        headers = encode_headers([("user-x", b"y"), ("traceparent", parent)])
        site.feed.append(encode(MESSAGE, 1, 0, NOW_NS, 0, context, headers, b"{}"))
        site.feed.append(encode(MESSAGE, 1, 0, NOW_NS, 0, context, b"", b"{}"))
    forward(site)
    found = [each.headers() for each in read(kafka.address, topic)]
    assert [dict(each).get("traceparent") for each in found] == [each for parent in parents for each in (parent, None)]
    assert [each[-1] for each in found] == [("seq", b"%d" % seq) for seq in range(1, 601)]


def test_keys_and_partitions(kafka, make_site, make_topic, read, request):
    topic, reference = request.node.name, f"{request.node.name}-reference"
    for name in (topic, reference):
        make_topic(kafka.address, name, partitions=5)
    site = make(
        make_site,
        kafka,
        topic,
        **{
            "level/#": 'key = "{3}"',
            "none/#": 'key = "none"',
            "device/#": 'key = "{3}"\npartition = "device"',
            "fixed/#": 'partition = "4"',
            "beyond/#": 'partition = "5"',
        },
    )
    devices, levels = [f"dev-{number}" for number in range(20)], [f"level-{number}" for number in range(7)]
    for device in devices:
        for level in levels:
            publish(site, device, f"level/x/{level}", 1)
        for kind in ("none", "device", "fixed", "beyond"):
            publish(site, device, f"{kind}/x/y", 2)
    producer = Producer({"bootstrap.servers": kafka.address, "partitioner": "murmur2_random"})
    for key in (*devices, *levels):
        producer.produce(reference, key=key.encode(), value=b"")
    producer.flush(30)
    forward(site)
    of_key = {each.key().decode(): each.partition() for each in read(kafka.address, reference)}
    kinds = {"level": 0, "none": 0, "device": 0, "fixed": 0}
    for each in read(kafka.address, topic):
        kind, _, level = dict(each.headers())["mqtt-topic"].decode().split("/")
        kinds[kind] += 1
        if kind == "level":
            assert (each.key(), each.partition()) == (level.encode(), of_key[level])
        elif kind == "fixed":
            assert each.partition() == 4
        else:
            assert each.key() == (None if kind == "none" else b"y")
            assert dict(each.headers())["device"].decode() in devices
    assert kinds == {"level": 140, "none": 40, "device": 40, "fixed": 40}
    dead = [dict(each.headers()) for each in read(kafka.address, f"{topic}-dead")]
    assert [each["error"] for each in dead] == [b"unknown-partition"] * 40


def test_without_a_key_a_devices_records_stay_together(kafka, make_site, make_topic, read, request):
    topic = request.node.name
    make_topic(kafka.address, topic, partitions=5)
    site = make(make_site, kafka, topic, **{"+/#": 'key = "none"'})
    for number in range(40):
        publish(site, f"dev-{number % 10}", "t", 1, b"%d" % (number % 10))
    forward(site)
    found = read(kafka.address, topic)
    partitions = {each.value(): each.partition() for each in found}
    assert len(found) == 40
    assert all(each.partition() == partitions[each.value()] for each in found)
    assert len(set(partitions.values())) > 1


def test_any_partition_fills_all_of_them_and_loses_nothing(kafka, make_site, make_topic, read, request):
    topic = request.node.name
    make_topic(kafka.address, topic, partitions=3)
    site = make(make_site, kafka, topic, **{"kept/#": "", "+/#": 'key = "none"\npartition = "any"'})
    site.start()
    seen = 0
    for number in range(6):
        publish(site, "dev-1", "loose", 10)
        publish(site, f"dev-{number}", "kept/x", 10)
        site.feed.sync()
        site.wait()
        seen += 20
    found = read(kafka.address, topic)
    assert sorted(numbers(found)) == list(range(1, seen + 1))
    assert {each.partition() for each in found if each.key() is None} == {0, 1, 2}


def test_what_was_judged_a_misfit_is_a_dead_letter(kafka, make_site, read, request):
    topic = request.node.name
    site = make(make_site, kafka, topic, **{"+/#": 'format = "cloudevents"'})
    context = encode_context("dev-1", "t", topic)
    fault = encode_headers([("user-error", b"mine"), ("error", b"schema-mismatch"), ("error-detail", b"too hot")])
    for headers in (b"", fault, b""):
        site.feed.append(encode(MESSAGE, 1, 0, NOW_NS, 0, context, headers, b"{}"))
    forward(site)
    assert numbers(read(kafka.address, topic)) == [1, 3]
    (letter,) = read(kafka.address, f"{topic}-dead")
    assert (letter.key(), letter.value()) == (b"dev-1", b"{}")
    headers = dict(letter.headers())
    assert (headers["error"], headers["error-detail"], headers["user-error"]) == (
        b"schema-mismatch",
        b"too hot",
        b"mine",
    )
    assert (headers["original-topic"], headers["seq"]) == (topic.encode(), b"2")
    assert headers["ce_id"].endswith(b"/normal/2")
