"""What Kafka will never take goes to the dead letters with its reason, and what stands behind it goes on."""

from __future__ import annotations

import os
import time

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from bridge.log.record import MESSAGE, encode, encode_context
from tests.support.kafka.feed import message
from tests.support.kafka.ledger import exactly_once_in_order, numbers_by_device

HALF_AN_HOUR_NS = 1800 * 10**9


def dead_letters(kafka, site, read):
    found = read(kafka.address, f"{site.topic}-dead")
    return [(each.key(), each.value(), dict(each.headers())) for each in found]


def site_with_dead_letters(kafka, make_site, topic, extra=""):
    settings = f'dead_letter_topic = "{topic}-dead"\ntopic_timeout = "500 ms"\n' + extra
    return make_site(kafka.address, topic=topic, extra=settings)


def test_too_large_for_its_topic(kafka, make_site, make_topic, read):
    site = site_with_dead_letters(kafka, make_site, f"small-{time.time_ns()}")
    make_topic(kafka.address, site.topic, max_message_bytes="4000")
    noise = os.urandom(6000)
    site.feed.publish(["dev-1"], 30, size=500)
    site.feed.append(message("dev-big", noise, site.topic))
    site.feed.publish(["dev-1"], 30, size=500)
    site.start()
    site.wait()
    found = read(kafka.address, site.topic)
    assert [dict(each.headers())["seq"] for each in found] == [b"%d" % seq for seq in (*range(1, 31), *range(32, 62))]
    ((key, value, headers),) = dead_letters(kafka, site, read)
    assert (key, value) == (b"dev-big", noise)
    assert headers["error"] == b"record-too-large"
    assert headers["original-topic"] == site.topic.encode()
    assert headers["original-partition"] == b"0"
    assert headers["seq"] == b"31"
    assert headers["mqtt-topic"] == b"devices/dev-big/telemetry/t"
    assert site.said("are dead letters") == 1


def test_too_large_even_for_the_dead_letters_is_cut(kafka, make_site, make_topic, read):
    site = site_with_dead_letters(kafka, make_site, f"small-{time.time_ns()}")
    for topic in (site.topic, f"{site.topic}-dead"):
        make_topic(kafka.address, topic, max_message_bytes="4000")
    noise = os.urandom(9001)
    site.feed.append(message("dev-big", noise, site.topic))
    site.feed.publish(["dev-1"], 3)
    site.start()
    site.wait()
    letters = dead_letters(kafka, site, read)
    assert b"".join(value for _, value, _ in letters) == noise
    assert [headers["part"] for _, _, headers in letters] == [b"1/4", b"2/4", b"3/4", b"4/4"]
    assert len(read(kafka.address, site.topic)) == 3


def test_unknown_topic(kafka, make_site, read):
    site = site_with_dead_letters(kafka, make_site, f"known-{time.time_ns()}")
    site.feed.publish(["dev-1"], 2)
    site.feed.append(message("dev-2", b"lost?", "no such topic!"))
    site.feed.publish(["dev-1"], 2)
    site.start()
    site.wait()
    assert len(read(kafka.address, site.topic)) == 4
    ((key, value, headers),) = dead_letters(kafka, site, read)
    assert (key, value, headers["error"]) == (b"dev-2", b"lost?", b"unknown-topic")
    assert headers["original-topic"] == b"no such topic!"


@pytest.mark.parametrize("around", [0, 20, 6000])
def test_time_that_kafka_refuses(around, kafka, make_site, make_topic, read):
    site = site_with_dead_letters(kafka, make_site, f"clock-{time.time_ns()}", 'timestamp_ahead_max = "1 h"\n')
    make_topic(kafka.address, site.topic, message_timestamp_after_max_ms="60000")
    site.feed.publish(["dev-1"], around)
    context = encode_context("dev-1", "t", site.topic)
    site.feed.append(encode(MESSAGE, 1, 0, time.time_ns() + HALF_AN_HOUR_NS, 0, context, b"", b"from the future"))
    site.feed.publish(["dev-1"], around)
    site.start()
    site.wait()
    assert exactly_once_in_order(read(kafka.address, site.topic), site.feed.written)
    ((_, value, headers),) = dead_letters(kafka, site, read)
    assert (value, headers["error"]) == (b"from the future", b"invalid-timestamp")


def test_records_from_the_future_have_the_present_time_and_say_what_the_clock_said(kafka, make_site, make_topic, read):
    site = make_site(kafka.address)
    make_topic(kafka.address, site.topic)
    site.feed.publish(["dev-1"], 5)
    context, ahead = encode_context("dev-1", "t", site.topic), 4_102_444_800_000  # 2100-01-01
    for number in range(3000):
        record = encode(MESSAGE, 1, 0, (ahead + number) * 1_000_000, 0, context, b"", b"%d" % number)
        site.feed.append(record)
    site.feed.sync()
    begun = time.time() - 1
    bus = site.start()
    site.wait()
    found = read(kafka.address, site.topic)
    late = [(message.value(), dict(message.headers())) for message in found if b"device" not in message.value()]
    assert [value for value, _ in late] == [b"%d" % number for number in range(3000)]
    assert late[7][1]["received-at"] == b"2100-01-01T00:00:00.007Z"
    assert [int(headers["seq"]) for _, headers in late] == list(range(6, 3006))
    assert all(begun <= message.timestamp()[1] / 1000 <= time.time() for message in found)
    assert bus.health.figures.transactions_aborted == 0


@pytest.mark.parametrize("around", [0, 6000])
def test_record_that_the_brokers_validation_refuses(around, kafka, make_site, make_topic, read):
    site = site_with_dead_letters(kafka, make_site, f"compacted-{time.time_ns()}")
    make_topic(kafka.address, site.topic, cleanup_policy="compact")
    site.feed.publish(["dev-1"], around)
    site.feed.append(message("", b"without a key", site.topic))
    site.feed.publish(["dev-1"], around)
    site.start()
    site.wait()
    assert exactly_once_in_order(read(kafka.address, site.topic), site.feed.written)
    ((key, value, headers),) = dead_letters(kafka, site, read)
    assert (key, value, headers["error"]) == (None, b"without a key", b"invalid-record")


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_topic_that_kafka_does_not_let_us_write(delivery, kafka, make_site, make_topic, read):
    admin = AdminClient({"bootstrap.servers": kafka.address})
    topic = f"open-{time.time_ns()}"
    settings = f'delivery = "{delivery}"\ntopic_retry = "1 s"\ndead_letter_topic = "{topic}-dead"\n'
    site = make_site(kafka.address, topic=topic, extra=settings)
    closed = f"closed-{site.topic}"
    make_topic(kafka.address, closed)
    everybody = (closed, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", AclOperation.WRITE)
    denied = AclBinding(ResourceType.TOPIC, *everybody, AclPermissionType.DENY)
    admin.create_acls([denied])[denied].result(30)
    site.feed.publish(["dev-1"], 3000)
    site.feed.append(message("dev-2", b"not for you", closed))
    site.feed.publish(["dev-1"], 3000)
    site.start()
    site.wait()
    found = numbers_by_device(read(kafka.address, site.topic))["dev-1"]
    assert list(dict.fromkeys(found)) == list(range(1, 6001))
    assert delivery == "at_least_once" or len(found) == 6000
    ((key, value, headers),) = dead_letters(kafka, site, read)
    assert (key, value, headers["error"]) == (b"dev-2", b"not for you", b"not-authorised")
    # Put right, it is tried again by itself.
    filters = [AclBindingFilter(ResourceType.TOPIC, *everybody, AclPermissionType.DENY)]
    admin.delete_acls(filters)[filters[0]].result(30)
    time.sleep(1.1)
    site.feed.append(message("dev-2", b"for you", closed))
    site.feed.sync()
    site.wait()
    assert [each.value() for each in read(kafka.address, closed)] == [b"for you"]


def test_topics_are_made_as_the_configuration_says(kafka, make_site, read):
    fresh = f"fresh-{time.time_ns()}"
    settings = (
        f'dead_letter_topic = "{fresh}-dead"\ntopic_timeout = "500 ms"\ncreate_topics = true\n'
        'topic_partitions = 3\ntopic_replication = 1\ntopic_retention = "12 h"\n'
        f'[state]\ntopic = "{fresh}-documents"\n'
    )
    site = make_site(kafka.address, topic=fresh, extra=settings)
    site.feed.publish(["dev-1"], 3000)
    site.feed.append(message("dev-2", b"{}", f"{fresh}-documents"))
    site.feed.append(message("dev-3", b"nowhere", "no such topic!"))
    site.feed.publish(["dev-1"], 3000)
    site.start()
    site.wait()
    assert exactly_once_in_order(read(kafka.address, fresh), site.feed.written)
    ((_, value, headers),) = dead_letters(kafka, site, read)
    assert (value, headers["error"]) == (b"nowhere", b"unknown-topic")
    admin = AdminClient({"bootstrap.servers": kafka.address})
    wanted = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in (fresh, f"{fresh}-documents")]
    made, documents = (found.result() for found in admin.describe_configs(wanted).values())
    assert made["retention.ms"].value == str(12 * 3600 * 1000)
    assert documents["cleanup.policy"].value == "compact"
    assert len(admin.list_topics(fresh).topics[fresh].partitions) == 3
