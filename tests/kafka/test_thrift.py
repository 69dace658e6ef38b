"""For a metered link: what is sent is counted, bounded, and waits for company where the configuration says so."""

from __future__ import annotations

import json
import random
import time

import pytest

from tests.support.kafka.feed import message
from tests.support.kafka.ledger import exactly_once_in_order

DEVICES = [f"dev-{number:05d}" for number in range(20)]


def publish_noise(site, count, size):
    """What does not compress, numbered as the ledger wants it."""
    noise = random.Random(5)
    for _ in range(count):
        number = site.feed.written["dev-1"] = site.feed.written.get("dev-1", 0) + 1
        payload = json.dumps({"device": "dev-1", "n": number, "noise": noise.randbytes(size).hex()}).encode()
        site.feed.append(message("dev-1", payload, site.topic))
    site.feed.sync()


def test_a_bound_on_the_link_is_kept_and_alarms_do_not_wait_behind_the_backlog(kafka, make_site, read):
    extra = 'compression = "none"\nmax_rate = "150 KB/s"\n[lanes.alarm]\nweight = 8\n'
    site = make_site(kafka.address, lanes=("normal", "alarm"), extra=extra)
    publish_noise(site, 1500, 400)
    backlog = 1500 * 800
    bus = site.start()
    begun = time.monotonic()
    bus.listen_until(lambda: bus.forwarded.get("normal", 0) > 100)
    site.feed.publish(["alarm-1"], 1, "alarm")
    site.tell()
    bus.listen_until(lambda: bus.forwarded.get("alarm", 0) == 2)
    assert bus.forwarded["normal"] < 1500, "the alarm came first"
    site.wait(60)
    # One second's worth may go at once.
    assert time.monotonic() - begun >= backlog / 150_000 - 1
    assert exactly_once_in_order(read(kafka.address, site.topic), site.feed.written)
    bus.listen_until(lambda: site.said("caught up: ") == 1)
    assert site.said("catching up: ") == 1
    bus.listen_until(lambda: bus.health.figures.lanes["normal"].waiting_records == 0)
    lane = bus.health.figures.lanes["normal"]
    assert lane.forwarded_records == 1500
    assert backlog < bus.health.figures.wire_bytes < 1.2 * lane.forwarded_bytes


def squeezed(kafka, make_site, delivery, extra):
    """Bytes of all batches of the same 4,000 messages, as the bus side counts them."""
    # Level 19 takes a second of a core that is all its own; what is sent again for a time-out would be counted, too.
    extra = f'delivery = "{delivery}"\n{extra}'
    site = make_site(kafka.address, topic=f"squeezed-{time.time_ns()}", extra=extra, patience="60 s")
    site.feed.publish(DEVICES, 200)
    bus = site.start()
    site.wait(90)
    bus.listen_until(lambda: bus.health.forwarded_records == 4000)
    site.close()
    return bus.health.figures.wire_bytes


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_the_level_of_compression_is_the_configurations(kafka, make_site, delivery):
    sizes = [
        squeezed(kafka, make_site, delivery, settings)
        for settings in (
            'compression = "zstd"\ncompression_level = 19\n',
            'compression = "zstd"\n',
            'compression = "none"\n',
        )
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.9 * sizes[1] < 0.9 * 0.2 * sizes[2]


def test_what_lingers_goes_in_few_transactions(kafka, make_site, read):
    site = make_site(kafka.address, lanes=("bulk",), extra='[lanes.bulk]\nlinger = "2 s"\nlinger_bytes = "1 MiB"\n')
    bus = site.start()
    for _ in range(20):
        site.feed.publish(DEVICES, 1, "bulk")
        site.tell()
        bus.listen(0.02)
    site.wait(60)
    bus.listen_until(lambda: bus.health.forwarded_records == 400)
    assert bus.health.figures.transactions_committed <= 3
    assert exactly_once_in_order(read(kafka.address, site.topic), site.feed.written)
