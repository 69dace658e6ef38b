"""What Kafka will never take goes to the dead letters with its reason, and what stands behind it goes on."""

from __future__ import annotations

import os
import time

from bridge.log.record import MESSAGE, encode, encode_context
from tests.support.kafka.feed import message

DAY_NS = 86_400 * 10**9


def dead_letters(kafka, site, read):
    found = read(kafka.address, f"{site.topic}-dead")
    return [(each.key(), each.value(), dict(each.headers())) for each in found]


def site_with_dead_letters(kafka, make_site, topic):
    return make_site(
        kafka.address, topic=topic, extra=f'dead_letter_topic = "{topic}-dead"\ntopic_timeout = "500 ms"\n'
    )


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


def test_time_that_kafka_refuses(kafka, make_site, read):
    site = site_with_dead_letters(kafka, make_site, f"clock-{time.time_ns()}")
    site.feed.publish(["dev-1"], 20)
    context = encode_context("dev-1", "t", site.topic)
    site.feed.append(encode(MESSAGE, 1, 0, time.time_ns() + 9 * DAY_NS, 0, context, b"", b"from the future"))
    site.feed.publish(["dev-1"], 20)
    site.start()
    site.wait()
    assert len(read(kafka.address, site.topic)) == 40
    ((_, value, headers),) = dead_letters(kafka, site, read)
    assert (value, headers["error"]) == (b"from the future", b"invalid-timestamp")
