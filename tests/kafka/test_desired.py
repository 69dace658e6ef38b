"""Desired states: from Kafka into the downlink log, and never stopped by garbage."""

from __future__ import annotations

import json
import signal
import time

from bridge.log.log_id import load_log_id
from bridge.log.reader import LogReader
from bridge.log.record import DESIRED, TOMBSTONE, decode_context


def downlink(site, count):
    """What stands in the log, once it is durable: (device, tombstone, value)."""
    bus = site.bus
    bus.listen_until(lambda: bus.downlink_committed > count)
    directory = site.data / "downlink"
    records = LogReader(directory, load_log_id(directory), 1).read(bus.downlink_committed, 1000, 1 << 20)
    assert all(record.kind == DESIRED for record in records)
    return [
        (decode_context(each.context)[0], bool(each.flags & TOMBSTONE), json.loads(each.payload or b"null"))
        for each in records
    ]


def site_with_downlink(kafka, make_site):
    topic = f"desired-{time.time_ns()}"
    site = make_site(kafka.address, extra=f'[downlink]\ndesired_topic = "{topic}"\nmax_bytes = "16 MiB"\n')
    return site, topic


def test_desired_states_arrive_and_garbage_does_not(kafka, make_site, make_topic, produce):
    site, topic = site_with_downlink(kafka, make_site)
    make_topic(kafka.address, topic)
    produce(
        kafka.address,
        topic,
        (b"dev-1", b'{"version": 4, "state": {"interval_s": 10}}'),
        (b"dev-1", b"{"),
        (b"dev-1", b"[1, 2]"),
        (b"dev-1", b'{"version": "x", "state": {}}'),
        (b"dev-1", b'{"version": 5}'),
        (None, b'{"version": 5, "state": {}}'),
        (b"\xff", b'{"version": 5, "state": {}}'),
        (b"dev-1", b"[" * 100_000),
        (b"dev-1", b'{"state": {"interval_s": 20}}'),
        (b"dev-2", None),
    )
    site.start()
    assert downlink(site, 3) == [
        ("dev-1", False, {"version": 4, "state": {"interval_s": 10}}),
        ("dev-1", False, {"version": 8, "state": {"interval_s": 20}}),
        ("dev-2", True, None),
    ]
    assert site.said("is skipped") == 7


def test_goes_on_where_it_was(kafka, make_site, make_topic, produce):
    site, topic = site_with_downlink(kafka, make_site)
    make_topic(kafka.address, topic, partitions=3)
    site.start()
    for number in range(3):
        produce(kafka.address, topic, (f"dev-{number}".encode(), b'{"version": 1, "state": {}}'))
        assert len(downlink(site, number + 1)) == number + 1
        # The offset is committed a moment after the record is durable; a clean end waits for nothing.
        time.sleep(0.3)
        site.bus.signal(signal.SIGTERM)
        assert site.bus.wait() == 0
        site.start()
    produce(kafka.address, topic, (b"dev-9", b'{"version": 1, "state": {}}'))
    assert [device for device, _, _ in downlink(site, 4)] == ["dev-0", "dev-1", "dev-2", "dev-9"]


def test_reads_a_topic_that_comes_later(kafka, make_site, produce):
    site, topic = site_with_downlink(kafka, make_site)
    site.start()
    site.bus.listen_until(lambda: site.bus.ready)
    produce(kafka.address, topic, (b"dev-1", b'{"version": 1, "state": {}}'))
    assert downlink(site, 1) == [("dev-1", False, {"version": 1, "state": {}})]
