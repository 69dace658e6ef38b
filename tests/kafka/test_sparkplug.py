"""Sparkplug B into a real Kafka: a client that others wrote, and nodes that lose messages while all is killed."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import sys
import time

import pytest

from firmware_sim.child import children_of
from tests.interop.driver import Driver
from tests.interop.edge_node import BOOLEAN, INT32, NODE, EdgeNode
from tests.interop.gateway import CHECKOUT, Gateway, wait_until
from tests.support.effort import EFFORT, seed
from tests.support.kafka.documents import Topic
from tests.support.sparkplug_bytes import metric, whole

CLIENT = CHECKOUT / ".cache" / "interop" / "sparkplug"
SINK = """
[kafka]
bootstrap_servers = ["{address}"]
request_timeout = "2 s"
reconnect_backoff_max = "500 ms"
event_topic = "{topic}-events"
dead_letter_topic = "{topic}-dead"
"""
ROUTES = """
[[routes]]
filter = "spBv1.0/+/+/{device}/#"
topic = "{topic}"
seal = "plain"
sparkplug = { json = true, rebirth_interval = "200 ms" }
[acl]
publish = ["spBv1.0/+/+/{device}/#"]
subscribe = ["spBv1.0/+/NCMD/{device}", "spBv1.0/+/DCMD/{device}/+", "devices/spBv1.0/+/{device}/#"]
[state]
topic = "{topic}-state"
[downlink]
desired_topic = "{topic}-desired"
"""
PUMP = "spBv1.0/plant/node-1/pump"


@pytest.fixture
def make_gateway(kafka, make_topic, read, tmp_path):
    """`make_gateway(id)`: one that runs; their edge nodes' records and documents are in topics of the test's own."""
    topic = f"sparkplug-{time.time_ns():x}"
    for name in (topic, f"{topic}-state", f"{topic}-dead", f"{topic}-events", f"{topic}-desired"):
        make_topic(kafka.address, name, 2)
    sink = SINK.replace("{address}", kafka.address).replace("{topic}", topic)
    gateways = []

    def make(gateway_id):
        directory = tmp_path / gateway_id
        directory.mkdir()
        gateways.append(Gateway(directory, sink=sink, routes=ROUTES.replace("{topic}", topic)))
        config = gateways[-1].config
        config.write_text(config.read_text().replace('"gw-test"', f'"{gateway_id}"'))
        return Site(gateways[-1].start(), topic, lambda which: read(kafka.address, which))

    yield make
    for gateway in gateways:
        if gateway.running:
            gateway.kill()


@pytest.fixture
def site(make_gateway):
    return make_gateway("gw-a")


class Site:
    """The gateway and what its readers see."""

    def __init__(self, gateway, topic, read):
        self.gateway = gateway
        self.documents = Topic(f"{topic}-state", read)
        self.topic, self._read = topic, read

    def values(self, suffix=""):
        """JSON of every record, in the order of its partition."""
        return [json.loads(each.value()) for each in self._read(f"{self.topic}{suffix}")]

    def wait_for(self, count):
        wait_until(lambda: len(self.values()) >= count, f"{count} records", 60)
        return self.values()

    def document(self, key, condition):
        """The device's document, as soon as that holds of it."""
        wait_until(lambda: condition(self.documents.latest().get(key) or {}), f"the document of {key}", 60)
        return self.documents.latest()[key]


@pytest.fixture
def foreign(site):
    """pysparkplug's edge node `node-1`, with the device `pump`; born."""
    assert CLIENT.exists(), "the Sparkplug client is not installed: ./dev test does it"
    driver = CHECKOUT / "tests" / "interop" / "clients" / "sparkplug" / "driver.py"
    environment = {**os.environ, "PYTHONPATH": str(CLIENT)}
    node = Driver((sys.executable, str(driver)), tuple(environment.items()))
    node.do("connect", name="node-1", port=site.gateway.port)
    yield node
    node.kill()


EVERY = {
    "INT8": -8, "INT16": -16, "INT32": -32, "INT64": -(1 << 63), "UINT8": 255, "UINT16": 65535,
    "UINT32": (1 << 32) - 1, "UINT64": (1 << 64) - 1, "FLOAT": 12.5, "DOUBLE": 0.1, "BOOLEAN": True, "STRING": "ä",
    "TEXT": "text", "DATETIME": 1767312000000, "UUID": "8a3f3a4e-0b5c-4e0e-9d86-0a6c0b7a2f10",
    "BYTES": base64.b64encode(b"\x00\xff").decode(), "FILE": base64.b64encode(b"file").decode(),
    "INT8_ARRAY": [-1, 1], "INT16_ARRAY": [-2, 2], "INT32_ARRAY": [-3, 3], "INT64_ARRAY": [-4, 4],
    "UINT8_ARRAY": [1, 255], "UINT16_ARRAY": [1, 65535], "UINT32_ARRAY": [1, 2], "UINT64_ARRAY": [1, 1 << 63],
    "FLOAT_ARRAY": [0.5, 1.5], "DOUBLE_ARRAY": [0.1, 0.2], "BOOLEAN_ARRAY": [True, False, True],
    "STRING_ARRAY": ["a", "b"], "DATETIME_ARRAY": [1767312000000],
}  # fmt: skip
"""What the client's own driver says of each type that it has."""


def named(value):
    return {each["name"].removeprefix("types/"): each["value"] for each in value["metrics"]}


def test_a_client_that_others_wrote(site, foreign):
    """Births, data with names and with aliases alone, a gap, the birth that was asked for, deaths."""
    nbirth, dbirth = site.wait_for(2)
    assert (nbirth["type"], dbirth["type"]) == ("NBIRTH", "DBIRTH")
    assert named(dbirth) == EVERY
    document = site.document(PUMP, lambda found: found.get("reported"))
    assert {name.removeprefix("types/"): value for name, value in document["reported"]["state"].items()} == EVERY
    foreign.do("update")
    data = site.wait_for(3)[2]
    assert (data["type"], named(data), "stale" in data) == ("DDATA", EVERY, False)
    foreign.do("alias", seq=200)
    gap = site.wait_for(4)[3]
    assert (gap["stale"], named(gap)) == ("gap", EVERY)
    asked = foreign.messages.get(timeout=20)
    assert (asked["topic"], asked["metrics"]) == ("spBv1.0/plant/NCMD/node-1", ["Node Control/Rebirth"])
    assert foreign.messages.get(timeout=20) == {"born": True}
    foreign.do("alias")
    *_, healed = site.wait_for(7)
    assert (healed["type"], named(healed), "stale" in healed) == ("DDATA", EVERY, False)
    assert all("name" in each and "type" in each for each in healed["metrics"])
    assert site.document(PUMP, lambda found: found["presence"]["state"] == "online")["reported"]["version"] == 1
    foreign.kill()
    assert (
        site.document(PUMP, lambda found: found["presence"]["state"] == "offline")["presence"]["reason"] == "node-death"
    )
    site.document("node-1", lambda found: found["presence"]["state"] == "offline")
    assert site.wait_for(8)[-1]["type"] == "NDEATH"
    assert site.values("-dead") == []


def test_a_device_that_the_client_says_is_gone(site, foreign):
    site.document(PUMP, lambda found: found.get("presence"))
    foreign.do("gone")
    assert (
        site.document(PUMP, lambda found: found["presence"]["state"] == "offline")["presence"]["reason"]
        == "device-death"
    )
    foreign.do("disconnect")
    site.document("node-1", lambda found: found["presence"]["state"] == "offline")


def test_what_is_desired_of_a_device_behind_a_node(site, kafka, produce):
    with EdgeNode(site.gateway.port, "node-1") as node:
        node.subscribe("devices/spBv1.0/plant/node-1/pump/state/desired", 1)
        node.born()
        node.device_born()
        site.document(PUMP, lambda found: found.get("reported"))
        produce(kafka.address, f"{site.topic}-desired", (PUMP.encode(), b'{"version": 3, "state": {"Running": false}}'))
        topic, body, _, _ = node.message(40)
        assert (topic, json.loads(body)["state"]) == (f"devices/{PUMP}/state/desired", {"Running": False})
        assert site.document(PUMP, lambda found: found.get("delta"))["delta"] == {"Running": False}
        node.device_born(told={**NODE, "Running": (11, BOOLEAN, whole(14, 0))})
        site.document(PUMP, lambda found: found["delta"] == {})


def test_a_node_that_moves_takes_its_devices_with_it(make_gateway):
    a, b = make_gateway("gw-a"), make_gateway("gw-b")
    with EdgeNode(a.gateway.port, "node-1") as first:
        first.born()
        first.device_born()
        a.document(PUMP, lambda found: found.get("presence", {}).get("gateway") == "gw-a")
        with EdgeNode(b.gateway.port, "node-1", bd_seq=1) as second:
            second.born()
            second.device_born(told={"Moved": (1, INT32, whole(10, 1))})
            b.document(PUMP, lambda found: found["presence"]["gateway"] == "gw-b")
            first.drop()
            with EdgeNode(a.gateway.port, "node-2") as other:  # what A says of it comes behind what it said before
                wait_until(lambda: a.gateway.presence(PUMP), "A's own documents")
                other.born()
                a.document("node-2", lambda found: found.get("reported"))
            found = b.documents.latest()[PUMP]
            assert (found["presence"]["gateway"], found["presence"]["state"]) == ("gw-b", "online")
            assert found["reported"]["state"] == {"Moved": 1}
        b.document(PUMP, lambda found: found["presence"]["state"] == "offline")


class Shifty(EdgeNode):
    """Its aliases mean something else after each birth, and each value says of which birth it is."""

    life = 0

    def born_anew(self):
        self.life += 1
        self.born({f"m{self.life}.{alias}": (alias, INT32, whole(10, self.life)) for alias in range(3)}, qos=1)

    def data(self, alias):
        self.say("NDATA", [metric(alias=alias, value=whole(10, self.life))], qos=1)


def test_names_are_those_of_the_birth_whatever_is_killed(site):
    """Each acknowledged message is there once and in order, and its metric has the name that it had for the node."""
    chance, gateway = random.Random(seed(17)), site.gateway
    life, said = 0, []
    for _ in range(8 * EFFORT):
        with Shifty(gateway.port, "node-1") as node:
            node.life, node.bd_seq = life, life % 256
            node.seq = chance.randrange(256)
            if life == 0 or chance.random() < 0.5:
                node.born_anew()
                said.append(("NBIRTH", node.life, None))
            for _ in range(chance.randrange(1, 12)):
                if chance.random() < 0.2:
                    node.lose(chance.randrange(1, 5))
                if chance.random() < 0.2:
                    node.born_anew()
                    said.append(("NBIRTH", node.life, None))
                alias = chance.randrange(3)
                node.data(alias)
                said.append(("NDATA", node.life, alias))
            life = node.life
            if chance.random() < 0.5:
                gateway.kill()
            elif chance.random() < 0.5:
                for child in children_of(gateway.pid):
                    os.kill(child, signal.SIGKILL)
        if not gateway.running:
            gateway.start()
    wait_until(
        lambda: len([each for each in site.values() if each["type"] != "NDEATH"]) >= len(said), "all of them", 60
    )
    found = [each for each in site.values() if each["type"] != "NDEATH"]
    assert len(found) == len(said)
    for value, (kind, session, alias) in zip(found, said, strict=True):
        assert value["type"] == kind
        if alias is not None:
            (one,) = value["metrics"]
            assert one == {"name": f"m{session}.{alias}", "alias": alias, "type": "Int32", "value": session}
    assert {each.get("stale") for each in found} >= {None, "gap", "unborn"}
