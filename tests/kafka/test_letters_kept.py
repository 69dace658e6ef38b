"""Where the dead-letter topic fails too: the record stays on the gateway, and nothing behind it waits."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
)
from confluent_kafka.admin import ResourceType as Kind

from bridge.log.record import MESSAGE, encode, encode_context
from tests.support.kafka.feed import message
from tests.support.kafka.fetch import CHECKOUT
from tests.support.kafka.ledger import exactly_once_in_order
from tests.support.kafka.letters import letters_of

DAY_NS = 86_400 * 10**9
EVENTS = "busbridge-events"


@pytest.fixture
def close_topic(kafka):
    """`close_topic(name)`: nobody may write to it any more."""

    def close(topic):
        what = (Kind.TOPIC, topic, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", AclOperation.WRITE)
        denied = AclBinding(*what, AclPermissionType.DENY)
        admin = AdminClient({"bootstrap.servers": kafka.address})
        admin.create_acls([denied])[denied].result(30)

    return close


@pytest.fixture
def site(kafka, make_site, make_topic, close_topic):
    """A gateway whose dead-letter topic it may not write to."""
    name = f"kept-{time.time_ns()}"
    extra = f'dead_letter_topic = "{name}-dead"\ntopic_timeout = "500 ms"\ntimestamp_ahead_max = "30 d"\n'
    made = make_site(kafka.address, topic=name, extra=extra)
    make_topic(kafka.address, f"{name}-dead")
    make_topic(kafka.address, name, max_message_bytes="200000")
    close_topic(f"{name}-dead")
    return made


def poison(kind, site):
    """A record that Kafka will never take, and what its letter says."""
    device, value = "dev-bad", b"poison"
    topic, wall_ns = site.topic, time.time_ns()
    context = None
    if kind == "record-too-large":
        value = os.urandom(300_000)
    elif kind == "invalid-timestamp":
        wall_ns += 9 * DAY_NS
    elif kind == "unknown-topic":
        topic = "no such topic!"
    elif kind == "damaged-record":
        context = b"\xff\xff"
    context = context or encode_context(device, "t", topic)
    return encode(MESSAGE, 1, 0, wall_ns, 0, context, b"", value), value


@pytest.mark.parametrize("kind", ["record-too-large", "invalid-timestamp", "unknown-topic", "damaged-record"])
def test_each_poison_stays_alone_and_amid_thousands(kind, kafka, site, read):
    record, value = poison(kind, site)
    seqs = [site.feed.append(record)]
    site.feed.sync()
    site.start()
    site.wait()
    assert [letter.record.seq for letter in letters_of(site.data)] == seqs
    site.feed.publish(["dev-1"], 2000)
    seqs.append(site.feed.append(record))
    site.feed.publish(["dev-1"], 2000)
    site.wait()
    assert exactly_once_in_order(read(kafka.address, site.topic), site.feed.written)
    letters = letters_of(site.data)
    assert [letter.record.seq for letter in letters] == seqs
    for letter in letters:
        assert (letter.gateway, letter.lane, letter.log_id) == (site.gateway, "normal", site.feed.log_id)
        assert (letter.refusal.error, letter.record.payload) == (kind, value)
        assert "may not write" in letter.not_taken
    assert site.said("stay on this gateway") == 2
    events = [each for each in map(json.loads, values(read, kafka, EVENTS)) if each["gateway"] == site.gateway]
    assert [(each["type"], each["error"], each["lane"]) for each in events] == [
        ("dead-letters-kept", kind, "normal"),
        ("dead-letters-kept", kind, "normal"),
    ]
    assert [(each["count"], each["first_seq"]) for each in events] == [(1, seq) for seq in seqs]


def values(read, kafka, topic):
    return [each.value() for each in read(kafka.address, topic)]


def test_topic_that_is_closed_to_us(kafka, site, make_topic, close_topic, read):
    closed = f"{site.topic}-closed"
    make_topic(kafka.address, closed)
    close_topic(closed)
    site.feed.publish(["dev-1"], 3000)
    for _ in range(50):
        site.feed.append(message("dev-2", b"not for you", closed))
    site.feed.publish(["dev-1"], 3000)
    site.start()
    site.wait()
    assert exactly_once_in_order(read(kafka.address, site.topic), site.feed.written)
    assert [letter.record.seq for letter in letters_of(site.data)] == list(range(3001, 3051))


def test_dead_letter_topic_that_refuses_the_letter_itself(kafka, make_site, make_topic, read):
    name = f"kept-{time.time_ns()}"
    site = make_site(kafka.address, topic=name, extra=f'dead_letter_topic = "{name}-dead"\n')
    for topic in (name, f"{name}-dead"):
        make_topic(kafka.address, topic, cleanup_policy="compact")
    site.feed.publish(["dev-1"], 2000)
    site.feed.append(message("", b"without a key", site.topic))
    site.feed.publish(["dev-1"], 2000)
    site.start()
    site.wait()
    assert exactly_once_in_order(read(kafka.address, site.topic), site.feed.written)
    (letter,) = letters_of(site.data)
    assert (letter.record.payload, letter.refusal.error) == (b"without a key", "invalid-record")
    assert read(kafka.address, f"{name}-dead") == []


def test_no_dead_letter_topic_at_all(kafka, make_site, read):
    site = make_site(kafka.address, extra='dead_letter_topic = ""\ntopic_timeout = "500 ms"\n')
    site.feed.append(message("dev-2", b"where to?", "no such topic!"))
    site.feed.publish(["dev-1"], 3)
    site.start()
    site.wait()
    (letter,) = letters_of(site.data)
    assert letter.not_taken == "no kafka.dead_letter_topic is configured"
    assert len(read(kafka.address, site.topic)) == 3


def test_killed_at_random_every_poison_is_kept_and_nothing_else(kafka, site, read):
    moments = random.Random(5)
    poisoned = []
    for _ in range(4):
        bus = site.start()
        for _ in range(5):
            poisoned.append(site.feed.append(poison("unknown-topic", site)[0]))
            site.feed.publish(["dev-1", "dev-2"], 20)
            site.tell()
            bus.listen(0.01)
        time.sleep(moments.uniform(0.3, 1.2))
        bus.kill()
    site.start()
    site.wait()
    assert exactly_once_in_order(read(kafka.address, site.topic), site.feed.written)
    kept = [letter.record.seq for letter in letters_of(site.data)]
    # A kill between the letter and the position behind it makes it come again; by its number it is known.
    assert sorted(set(kept)) == poisoned


def letters_command(site, action, *arguments):
    config = site.log.parent / "busbridge.toml"
    words = ["queue", "dead-letters", site.data, action, "--config", config, *arguments]
    command = [sys.executable, "-m", "bridge", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=120)


def test_letters_that_stayed_are_forwarded_when_their_topic_is_put_right(kafka, make_site, make_topic, read):
    name = f"kept-{time.time_ns()}"
    extra = 'dead_letter_topic = ""\ntopic_timeout = "500 ms"\ntopic_retry = "1 s"\n'
    site = make_site(kafka.address, topic=name, extra=extra)
    make_topic(kafka.address, name, max_message_bytes="4000")
    site.feed.publish(["dev-1"], 3, size=50)
    noise = [os.urandom(6000) for _ in range(3)]
    for value in noise:
        site.feed.append(message("dev-big", value, name))
        site.feed.append(message("dev-2", b"nowhere", "no such topic!"))
    site.feed.sync()
    site.start()
    site.wait()
    assert len(letters_of(site.data)) == 6
    what = ConfigResource(ConfigResource.Type.TOPIC, name)
    what.add_incremental_config(
        ConfigEntry("max.message.bytes", "1000000", incremental_operation=AlterConfigOpType.SET)
    )
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.incremental_alter_configs([what])[what].result(30)
    assert "6 records would be forwarded" in letters_command(site, "replay", "--dry-run").stdout
    done = letters_command(site, "replay")
    assert done.returncode == 3
    assert "3 records were taken by nobody" in done.stderr
    again = [each for each in read(kafka.address, name) if "replay" in dict(each.headers())]
    assert [each.value() for each in again] == noise
    assert [dict(each.headers())["seq"] for each in again] == [b"4", b"6", b"8"]
    listed = json.loads(letters_command(site, "list", "--json").stdout)
    assert [row["seq"] for row in listed] == ["5", "7", "9"]
    # The daemon lives, and a second replay doubles nothing.
    assert site.bus.health.state == "connected"
    assert letters_command(site, "replay").returncode == 3
    assert len([each for each in read(kafka.address, name) if "replay" in dict(each.headers())]) == 3
