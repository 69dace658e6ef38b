"""Two gateways that write about one device at the same time: the log decides, and nothing newer is replaced.

The other gateway is played by a producer of another make, so that its transaction is open for as long as it takes.
"""

from __future__ import annotations

import json
import random
import time
from types import SimpleNamespace

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.interop.gateway import wait_until
from tests.interop.paho_device import Device
from tests.kafka.test_network import behind  # noqa: F401 - fixture
from tests.kafka.test_presence import Site, make, report, topic  # noqa: F401 - fixtures
from tests.support.effort import EFFORT, seed
from tests.support.kafka.documents import Topic
from tests.support.kafka.open_transaction import open_transaction
from tests.support.kafka.relay import Relay

TELEMETRY = """
[[routes]]
filter = "devices/{{device}}/telemetry/#"
topic = "{topic}"
seal = "plain"
[log]
level = "debug"
"""
LATER = "2100-01-01T00:00:00.000Z"


def document_of(gateway, connected, version):
    """As another gateway would write it."""
    presence = {
        "state": "online", "since": connected, "last_seen": connected, "reason": None, "gateway": gateway,
        "gateway_epoch": 1, "lease_until": connected, "connected": connected,
    }  # fmt: skip
    reported = {"version": version, "at": connected, "state": {"from": gateway}}
    return json.dumps(
        {"device": "dev-1", "presence": presence, "reported": reported, "desired": None, "delta": {}}
    ).encode()


@pytest.fixture
def other(kafka, topic):  # noqa: F811
    """The other gateway."""
    producer = Producer({"bootstrap.servers": kafka.address, "transactional.id": f"gw-z-{time.time_ns()}"})
    producer.init_transactions(30)
    return producer


@pytest.fixture
def site(kafka, topic, make, make_topic):  # noqa: F811
    """A gateway that has said something of dev-1 already."""
    make_topic(kafka.address, f"{topic.name}-telemetry")
    return make("gw-a", extra=TELEMETRY.format(topic=f"{topic.name}-telemetry"))


def begin(other, topic, value, partition):  # noqa: F811
    """The other one has written, and has not committed yet."""
    other.begin_transaction()
    other.produce(topic.name, value, "dev-1", partition, headers={"gateway": b"gw-z"})
    assert other.flush(30) == 0


def place_of(topic, read, kafka):  # noqa: F811
    return next(each.partition() for each in read(kafka.address, topic.name) if each.key() == b"dev-1")


@pytest.fixture
def behind_a_link(behind, make_topic, read, tmp_path):  # noqa: F811
    """A state topic, a gateway with all its ways to Kafka over one link, the link, and another gateway without."""
    link = Relay(0)
    address, link.target = behind("127.0.0.1", link.port)
    name = f"link-{time.time_ns()}"
    make_topic(address, name, 2, cleanup_policy="compact")
    make_topic(address, f"{name}-events")
    ports = {"gw-a": link.port, "gw-b": int(address.rpartition(":")[2])}
    sites = [Site(tmp_path / each, SimpleNamespace(port=port), each, name) for each, port in ports.items()]
    for each in sites:
        each.gateway.start()
    yield Topic(name, lambda which: read(address, which)), link, *sites
    for each in sites:
        each.gateway.kill()
        each.relay.close()
    link.close()


def anything(kafka, topic):  # noqa: F811
    """All values that stand in the topic, whatever became of them."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.address, "group.id": "anything", "isolation.level": "read_uncommitted"}
        | {"enable.auto.commit": False, "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(topic.name, number, 0) for number in range(2)])
    values, ends = [], 0
    while ends < 2:
        record = consumer.poll(10)
        assert record is not None
        ends += record.error() is not None
        values.append(b"" if record.error() else record.value() or b"")
    consumer.close()
    return b"\n".join(values)


@pytest.mark.parametrize("committed", [True, False])
def test_a_document_waits_while_a_newer_one_is_not_decided_and_the_rest_goes_on(
    kafka, topic, site, other, read, committed  # noqa: F811
):  # fmt: skip
    with Device(site.port, "dev-1") as device:
        report(device, "dev-1", {"a": 1})
        topic.wait(lambda docs: docs["dev-1"]["reported"]["version"] == 1)
        begin(other, topic, document_of("gw-z", LATER, 9), place_of(topic, read, kafka))
        report(device, "dev-1", {"a": 2})
        wait_until(lambda: "is taken back" in site.gateway.log(), "the gateway has seen what is in its way")
        assert device.publish("devices/dev-1/telemetry/t", b"21.5", 1) == 0
        wait_until(lambda: read(kafka.address, f"{topic.name}-telemetry"), "telemetry does not wait")
        assert open_transaction(kafka.address, topic.name)
        if committed:
            other.commit_transaction(30)
            wait_until(topic.superseded, "what was overtaken is told")
            documents = topic.latest()
            assert (documents["dev-1"]["presence"]["gateway"], documents["dev-1"]["reported"]["version"]) == ("gw-z", 9)
        else:
            other.abort_transaction(30)
            documents = topic.wait(lambda docs: docs["dev-1"]["reported"]["version"] == 2)
            assert documents["dev-1"]["presence"]["gateway"] == "gw-a"
            assert not topic.superseded()
    assert topic.replaced() == []


def test_what_an_aborted_transaction_left_in_the_log_is_in_nobodys_way(kafka, topic, site, other, read):  # noqa: F811
    with Device(site.port, "dev-1") as device:
        report(device, "dev-1", {"a": 1})
        topic.wait(lambda docs: docs["dev-1"]["reported"]["version"] == 1)
        partition = place_of(topic, read, kafka)
        stuck = Producer({"bootstrap.servers": kafka.address, "transactional.id": f"gw-y-{time.time_ns()}"})
        stuck.init_transactions(30)
        stuck.begin_transaction()
        stuck.produce(topic.name, b"{}", "dev-9", partition)
        assert stuck.flush(30) == 0  # nobody who reads what is committed comes any further than this
        begin(other, topic, document_of("gw-z", LATER, 9), partition)
        other.abort_transaction(30)
        report(device, "dev-1", {"a": 2})
        wait_until(lambda: b'"a":2' in anything(kafka, topic), "it went out all the same")
        stuck.abort_transaction(30)
        topic.wait(lambda docs: docs["dev-1"]["reported"]["version"] == 2)
    assert "is taken back" not in site.gateway.log()
    assert topic.replaced() == []


def test_what_is_long_on_its_way_does_not_come_late(behind_a_link):
    state, link, a, b = behind_a_link
    moments, link.delay_s = random.Random(seed(5)), 0.1
    for number in range(1, 4 * EFFORT + 1):
        with Device(a.port, "dev-1") as first:
            for step in range(5):
                report(first, "dev-1", {"a": [number, step]})
                time.sleep(moments.uniform(0.0, 0.2))  # any moment of a write
            with Device(b.port, "dev-1") as second:
                report(second, "dev-1", {"b": number})
                state.wait(lambda docs, number=number: docs["dev-1"]["reported"]["state"].get("b") == number)
                with Device(a.port, "dev-2") as witness:
                    report(witness, "dev-2", {"n": number})
                    state.wait(lambda docs, number=number: docs["dev-2"]["reported"]["state"]["n"] == number)
                assert state.latest()["dev-1"]["presence"]["gateway"] == "gw-b"
    assert state.replaced() == []
