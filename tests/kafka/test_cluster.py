"""Three brokers killed, frozen and restarted, leaders moved, our processes killed: nothing is lost, nothing doubled."""

from __future__ import annotations

import random
import threading
import time

import pytest
from confluent_kafka import KafkaException

from tests.support.effort import EFFORT, seed
from tests.support.kafka.cluster import Cluster
from tests.support.kafka.ledger import exactly_once_in_order, numbers_by_device

DEVICES = [f"dev-{number:05d}" for number in range(20)]
CHAOS_S = 30 * EFFORT
SEED = seed(7)


class Chaos(threading.Thread):
    """One trouble after another for one broker at a time, now and then for two; all is well again at its end."""

    def __init__(self, cluster, seconds):
        super().__init__(daemon=True)
        self.troubles = []
        self.failure = None
        self._cluster = cluster
        self._end = time.monotonic() + seconds
        self._chance = random.Random(SEED)

    def run(self):
        try:
            while time.monotonic() < self._end:
                trouble = self._chance.choice([self.die, self.freeze, self.freeze_two, self.move_leaders, self.restart])
                self.troubles.append(trouble.__name__)
                trouble()
                time.sleep(self._chance.uniform(0.5, 2))
        except Exception as error:
            self.failure = error

    def die(self):
        self.one().kill()
        time.sleep(self._chance.uniform(0.5, 3))
        self._cluster.start()

    def restart(self):
        self.one().stop()
        self._cluster.start()

    def freeze(self):
        self.for_a_while([self.one()])

    def freeze_two(self):
        self.for_a_while(self._chance.sample(self._cluster.brokers, 2))

    def move_leaders(self):
        try:
            self._cluster.prefer_leaders()
        except KafkaException:
            self.troubles.append("(unanswered)")

    def one(self):
        return self._chance.choice(self._cluster.brokers)

    def for_a_while(self, brokers):
        for broker in brokers:
            broker.freeze()
        time.sleep(self._chance.uniform(0.5, 5))
        for broker in brokers:
            broker.thaw()


@pytest.fixture
def cluster(tmp_path):
    brokers = Cluster(tmp_path / "cluster")
    brokers.start()
    yield brokers
    brokers.kill()


@pytest.mark.timeout(CHAOS_S + 270)
def test_everything_a_cluster_does(cluster, make_site, read):
    servers = '", "'.join(cluster.addresses)
    once = make_site(servers, lanes=("normal", "alarm"))
    least = make_site(servers, topic="least", extra='delivery = "at_least_once"\n')
    sites = (once, least)
    for site in sites:
        site.feed.publish(DEVICES, 2)
        site.start()
        site.wait(60)  # its topic is there: without a controller none is made, and its records would be dead letters
    chaos = Chaos(cluster, CHAOS_S)
    chaos.start()
    moments = random.Random(SEED + 1)
    kills = 0
    while chaos.is_alive():
        for site in sites:
            site.feed.publish(DEVICES, 2)
            if moments.random() < 0.01:
                site.bus.kill()
                site.start()
                kills += 1
            site.tell()
            site.bus.listen(0.02)
        once.feed.publish(["alarm-1"], 1, "alarm")
    assert chaos.failure is None, chaos.failure
    assert kills > 0
    for site in sites:
        site.wait(120)
        assert not site.bus.ended
        assert not site.said("Traceback"), site.log.read_text()
    address = ",".join(cluster.addresses)
    assert exactly_once_in_order(read(address, once.topic), once.feed.written), chaos.troubles
    found = read(address, least.topic)
    for device, numbers in numbers_by_device(found).items():
        assert list(dict.fromkeys(numbers)) == list(range(1, least.feed.written[device] + 1)), (device, chaos.troubles)
    twice = len(found) - sum(least.feed.written.values())
    print(f"{len(chaos.troubles)} troubles, {kills} kills, {twice} of {len(found)} twice with at_least_once")
