"""Kafka refused, frozen, killed and stopped: the bus side lives on, and nothing is lost or doubled."""

from __future__ import annotations

import time

from tests.support.kafka.ledger import exactly_once_in_order

DEVICES = [f"dev-{number:05d}" for number in range(20)]
AWAY = "is away, the queue grows"


def keep_publishing(site, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        site.feed.publish(DEVICES, 5)
        site.feed.publish(["state-1"], 1, "state")
        site.tell()
        site.bus.listen(0.02)


def test_every_outage(own_kafka, make_site, read):
    site = make_site(own_kafka.address, topic="telemetry", lanes=("normal", "state"))
    site.start()

    def traffic(seconds: float) -> None:
        keep_publishing(site, seconds)

    def recovered() -> None:
        traffic(0.2)
        site.wait_for("connected")
        site.wait(60)

    # Refused from the start.
    traffic(0.3)
    site.wait_for("away")
    assert "refused" in site.bus.health.detail.lower()
    own_kafka.start()
    recovered()

    # Frozen in the middle, longer than a request may take.
    traffic(0.3)
    own_kafka.freeze()
    traffic(1.0)
    site.wait_for("away")
    own_kafka.thaw()
    recovered()

    # Frozen for so short a time that the open transaction goes on.
    traffic(0.2)
    own_kafka.freeze()
    traffic(0.5)
    own_kafka.thaw()
    recovered()

    # Killed in the middle.
    traffic(0.3)
    own_kafka.kill()
    traffic(0.5)
    site.wait_for("away")
    own_kafka.start()
    recovered()

    # Stopped in the middle, and our process killed meanwhile.
    traffic(0.2)
    own_kafka.stop()
    traffic(0.2)
    site.wait_for("away")
    site.bus.kill()
    site.start()
    traffic(0.2)
    own_kafka.start()
    recovered()

    assert not site.bus.ended
    assert exactly_once_in_order(read(own_kafka.address, "telemetry"), site.feed.written)
    # One line for each change of state, and none of aiokafka's for each of its tries.
    assert site.said(AWAY) <= 6
    assert site.said("is connected") <= 6
    assert len(site.log.read_text().splitlines()) < 30
