"""Exactly once, whatever is killed when: read back with `read_committed` by somebody else's client."""

from __future__ import annotations

import random
import signal
import time

from tests.support.kafka.ledger import exactly_once_in_order, numbers_by_device
from tests.support.kafka.open_transaction import open_transaction

DEVICES = [f"dev-{number:05d}" for number in range(20)]


def test_kills_at_random_moments(kafka, make_site, read):
    site = make_site(kafka.address, lanes=("normal", "alarm"))
    moments = random.Random(20)
    for _ in range(10):
        bus = site.start()
        site.feed.publish(DEVICES, 40)
        site.feed.publish(["alarm-1", "alarm-2"], 10, "alarm")
        site.tell()
        # A life takes about a third of a second to its first transaction.
        end = time.monotonic() + moments.uniform(0.2, 0.9)
        while time.monotonic() < end:
            bus.listen(0.01)
            site.feed.publish(DEVICES, 2)
            site.tell()
        bus.kill()
    site.start()
    site.wait()
    messages = read(kafka.address, site.topic)
    assert len(messages) > 10_000
    assert exactly_once_in_order(messages, site.feed.written)


def test_position_is_read_back_when_the_cursor_is_gone(kafka, make_site, read):
    site = make_site(kafka.address, lanes=("normal", "alarm"))
    site.feed.publish(DEVICES, 5)
    site.feed.publish(["alarm-1"], 5, "alarm")
    site.start()
    site.wait()
    site.bus.kill()
    for lane in ("normal", "alarm"):
        (site.data / "uplink" / lane / "cursor").unlink()
    site.feed.publish(DEVICES, 1)
    bus = site.start()
    site.wait()
    bus.listen_until(lambda: bus.health.forwarded_records == len(DEVICES))
    assert exactly_once_in_order(read(kafka.address, site.topic), site.feed.written)


def test_clean_stop_saves_the_cursor_and_ends_well(kafka, make_site, read):
    site = make_site(kafka.address)
    bus = site.start()
    site.feed.publish(DEVICES, 50)
    site.tell()
    bus.listen_until(lambda: bus.forwarded)
    bus.signal(signal.SIGTERM)
    assert bus.wait() == 0
    site.start()
    site.wait()
    assert exactly_once_in_order(read(kafka.address, site.topic), site.feed.written)


def test_ends_when_the_device_side_is_gone(kafka, make_site):
    site = make_site(kafka.address)
    bus = site.start()
    bus.listen_until(lambda: bus.ready)
    bus.hang_up()
    assert bus.wait() == 0


def test_older_of_two_gateways_with_one_id_is_fenced(kafka, make_site, read):
    older = make_site(kafka.address, gateway="gw-twice")
    older.feed.publish(["dev-1"], 10)
    older.start()
    older.wait()
    newer = make_site(kafka.address, gateway="gw-twice", topic=older.topic)
    newer.feed.publish(["dev-2"], 10)
    newer.start()
    newer.wait()
    older.feed.publish(["dev-1"], 10)
    older.tell()
    older.wait_for("fenced")
    assert "another gateway" in older.bus.health.detail
    assert not older.bus.ended
    assert older.said("another gateway writes to this Kafka as 'gw-twice'") == 1
    newer.feed.publish(["dev-2"], 10)
    newer.wait()
    found = numbers_by_device(read(kafka.address, older.topic))
    assert found == {"dev-1": list(range(1, 11)), "dev-2": list(range(1, 21))}


def test_transaction_that_timed_out_is_no_other_gateway(kafka, make_site, read):
    site = make_site(kafka.address, extra='transaction_timeout = "1 s"\n', patience="20 s")
    bus = site.start()
    site.wait_for("connected")
    moments = random.Random(3)
    for _ in range(50):
        for _ in range(3):
            site.feed.publish(DEVICES, 100)
        site.tell()
        time.sleep(moments.uniform(0.005, 0.04))
        bus.signal(signal.SIGSTOP)
        time.sleep(0.2)  # what was just being committed is so now
        caught = open_transaction(kafka.address, site.topic)
        time.sleep(1.2 if caught else 0)  # longer than a transaction may be open, shorter than a request may take
        bus.signal(signal.SIGCONT)
        site.wait()
        if site.said("longer than kafka.transaction_timeout"):  # (one that was caught may have been about to end)
            break
    else:
        raise AssertionError("no transaction of its timed out")
    assert bus.health.state == "connected"
    assert exactly_once_in_order(read(kafka.address, site.topic), site.feed.written)


def test_another_logs_position_is_not_taken_for_ours(kafka, make_site, read):
    first = make_site(kafka.address, gateway="gw-renewed")
    first.feed.publish(["dev-1"], 10)
    first.start()
    first.wait()
    first.bus.kill()
    second = make_site(kafka.address, gateway="gw-renewed", topic=first.topic)
    second.feed.publish(["dev-2"], 4)
    second.start()
    second.wait()
    found = numbers_by_device(read(kafka.address, first.topic))
    assert found == {"dev-1": list(range(1, 11)), "dev-2": [1, 2, 3, 4]}
    assert second.said("belongs to another queue") == 1


def test_at_least_once_loses_nothing_and_keeps_order(kafka, make_site, read):
    site = make_site(kafka.address, extra='delivery = "at_least_once"\n')
    for _ in range(3):
        bus = site.start()
        site.feed.publish(DEVICES, 40)
        site.tell()
        bus.listen_until(lambda bus=bus: bus.forwarded)
        site.feed.publish(DEVICES, 40)
        site.tell()
        time.sleep(0.1)
        bus.kill()
    site.start()
    site.wait()
    for device, numbers in numbers_by_device(read(kafka.address, site.topic)).items():
        firsts = list(dict.fromkeys(numbers))
        assert firsts == list(range(1, site.feed.written[device] + 1)), device
