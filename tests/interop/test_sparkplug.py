"""Sparkplug B through a real daemon: what readers get, what is known of nodes and devices, what is asked for."""

from __future__ import annotations

import json
import queue
import sqlite3
import subprocess
import sys
import time

import jsonschema_rs
import msgspec
import pytest

from bridge.log.record import MESSAGE, decode_headers
from bridge.security.envelope import open_sealed
from bridge.security.keys import load_private
from tests.interop.conftest import NewGateway
from tests.interop.edge_node import INT8, NODE, PUMP, EdgeNode
from tests.interop.gateway import CHECKOUT, SMALL_QUEUE, Gateway, wait_until
from tests.interop.paho_device import V311, Device
from tests.support.sparkplug_bytes import chunk, metric, payload, whole

ROUTE = """
[[routes]]
filter = "spBv1.0/STATE/+"
topic = "hosts"
seal = "plain"
sparkplug = { json = true }
[[routes]]
filter = "spBv1.0/+/+/{device}/#"
topic = "spark"
%s
[[routes]]
filter = "spBv1.0/+/NCMD/#"
topic = "told"
seal = "plain"
sparkplug = { json = true }
[acl]
publish = ["spBv1.0/+/+/{device}/#", "devices/{device}/#", "spBv1.0/STATE/{device}", "spBv1.0/+/NCMD/+"]
subscribe = ["spBv1.0/#"]
[state]
topic = "device-state"
"""
JSON = 'seal = "plain"\nsparkplug = { json = true, rebirth_interval = "100 ms" }'
RAW = 'seal = "plain"\nsparkplug = { rebirth_interval = "1 h" }'
KEY = "spBv1.0/plant/node-1/pump"


@pytest.fixture
def spark(new_gateway: NewGateway):
    """`spark(settings, extra="")`: a gateway that runs, whose edge nodes' route has these settings."""

    def make(settings: str = JSON, extra: str = "") -> Gateway:
        return new_gateway(extra or SMALL_QUEUE, routes=ROUTE % settings).start()

    return make


def lines(gateway: Gateway, topic: str = "spark") -> list[dict[str, object]]:
    files = sorted((gateway.directory / "out").rglob("*.jsonl"))
    every = [msgspec.json.decode(line) for path in files for line in path.read_bytes().split(b"\n")[:-1]]
    return [{**each, "headers": dict(each["headers"])} for each in every if each["topic"] == topic]


def values(gateway: Gateway, count: int, topic: str = "spark") -> list[dict[str, object]]:
    """The JSON of the topic's first `count` records."""
    wait_until(lambda: len(lines(gateway, topic)) >= count, f"{count} records")
    return [json.loads(each["value"]) for each in lines(gateway, topic)]


def newest(gateway: Gateway, device: str) -> dict[str, object]:
    found = gateway.documents(device)
    return found[-1] if found else {}


def named(value: dict[str, object]) -> dict[str, object]:
    return {each["name"]: each["value"] for each in value["metrics"]}


def figures(gateway: Gateway) -> dict[str, int]:
    """What the gateway says of its edge nodes."""
    command = [sys.executable, "-m", "bridge", "status", "--json", "--config", str(gateway.config)]
    said = subprocess.run(command, check=True, capture_output=True, cwd=CHECKOUT).stdout
    return json.loads(said)["status"]["sparkplug"]


def is_asked(node: EdgeNode) -> None:
    """The node is asked for its birth."""
    topic, body, qos, retain = node.message()
    assert (topic, qos, retain) == ("spBv1.0/plant/NCMD/node-1", 0, False)
    assert b"Node Control/Rebirth" in body


def is_not_asked(node: EdgeNode) -> None:
    with pytest.raises(queue.Empty):
        node.message(0.3)


def test_births_and_data_are_json_in_kafka_and_protobuf_on_the_gateway(spark) -> None:
    gateway = spark()
    with Device(gateway.port, "listener") as listener, EdgeNode(gateway.port, "node-1") as node:
        listener.subscribe("spBv1.0/plant/DDATA/#")
        born = node.born()
        device_born = node.device_born()
        said = node.device_data((10, whole(10, 0xFE)), (11, whole(14, 0)))
        node.say("NDATA", [metric(alias=2, value=chunk(15, "BSD"))])
        assert listener.message()[:2] == (
            "spBv1.0/plant/DDATA/node-1/pump",
            payload(
                [metric(alias=10, value=whole(10, 0xFE)), metric(alias=11, value=whole(14, 0))], seq=2, timestamp=said
            ),
        )
        birth, device_birth, data, node_data = values(gateway, 4)
    assert (birth["type"], birth["node"], birth["timestamp"], birth["born"]) == ("NBIRTH", "node-1", born, born)
    assert named(birth) == {"bdSeq": 0, "Node Control/Rebirth": False, "Supply Voltage": 12.1, "Properties/OS": "Linux"}
    assert named(device_birth) == {"Temperature": -1, "Running": True}
    assert data == {
        "type": "DDATA", "group": "plant", "node": "node-1", "device": "pump", "timestamp": said, "seq": 2,
        "born": device_born,
        "metrics": [
            {"name": "Temperature", "alias": 10, "type": "Int8", "value": -2},
            {"name": "Running", "alias": 11, "type": "Boolean", "value": False},
        ],
    }  # fmt: skip
    assert named(node_data) == {"Properties/OS": "BSD"}
    for each in lines(gateway):
        assert each["key"] == "node-1"
        assert each["headers"]["content-type"] == "application/json"


def test_births_are_reported_state_and_deaths_presence(spark) -> None:
    gateway = spark()
    with EdgeNode(gateway.port, "node-1") as node:
        node.born()
        node.device_born()
        wait_until(lambda: newest(gateway, KEY), "the device's document")
        wait_until(lambda: newest(gateway, "node-1").get("reported"), "the node's document")
        assert newest(gateway, "node-1")["reported"]["state"] == {
            "Node Control/Rebirth": False, "Supply Voltage": 12.1, "Properties/OS": "Linux",
        }  # fmt: skip
        assert newest(gateway, KEY)["presence"]["state"] == "online"
        assert newest(gateway, KEY)["reported"]["state"] == {"Temperature": -1, "Running": True}
        since = newest(gateway, KEY)["presence"]["since"]
        node.born({"Other": (1, INT8, whole(10, 5))})
        node.device_born(told={"Running": PUMP["Running"]})
        wait_until(lambda: newest(gateway, KEY)["reported"]["version"] == 2, "another birth")
        assert newest(gateway, "node-1")["reported"]["state"] == {"Node Control/Rebirth": False, "Other": 5}
        assert newest(gateway, KEY)["reported"]["state"] == {"Running": True}
        assert newest(gateway, KEY)["presence"]["since"] == since
        node.say("DDEATH", device="pump")
        wait_until(lambda: gateway.presence(KEY)["state"] == "offline", "the device's death")
        assert gateway.presence(KEY)["reason"] == "device-death"
        assert gateway.presence("node-1")["state"] == "online"
        node.device_born()
        wait_until(lambda: gateway.presence(KEY)["state"] == "online", "the device is back")
        node.drop()
        wait_until(lambda: gateway.presence(KEY)["state"] == "offline", "the device went with its node")
        wait_until(lambda: gateway.presence("node-1")["state"] == "offline", "the node")
    assert gateway.presence(KEY)["reason"] == "node-death"
    assert gateway.presence("node-1")["reason"] == "connection-lost"
    schema = json.loads((CHECKOUT / "docs" / "device-document.schema.json").read_text())
    for document in gateway.documents_of_all():
        if "device" in document:
            jsonschema_rs.validator_for(schema).validate(document)
    assert named(values(gateway, 6)[-1]) == {"bdSeq": 0}


def test_a_node_that_says_good_bye(spark) -> None:
    gateway = spark()
    with EdgeNode(gateway.port, "node-1") as node:
        node.born()
        node.device_born()
        node.publish(node.topic("NDEATH"), node.death(), 1)
        wait_until(lambda: gateway.presence("node-1").get("state") == "offline", "its death")
        assert gateway.presence("node-1")["reason"] == "node-death"
        assert gateway.presence(KEY)["reason"] == "node-death"
        node.born()
        wait_until(lambda: gateway.presence("node-1")["state"] == "online", "its birth")


def test_a_device_that_only_its_connection_says_is_gone(spark) -> None:
    gateway = spark()
    with EdgeNode(gateway.port, "node-1") as node:
        node.born()
        node.device_born()
        wait_until(lambda: gateway.presence(KEY).get("state") == "online", "the device")
    wait_until(lambda: gateway.presence(KEY)["state"] == "offline", "the connection's end")
    assert gateway.presence(KEY)["reason"] == "disconnected"


def test_the_death_of_an_older_session_counts_for_nothing(spark) -> None:
    gateway = spark()
    with EdgeNode(gateway.port, "node-1", bd_seq=7) as node:
        node.born()
        node.device_born()
        older = EdgeNode(gateway.port, "node-1", bd_seq=6).death()
        node.publish(node.topic("NDEATH"), older, 1)
        node.device_data((10, whole(10, 1)))
        values(gateway, 4)
        assert "stale" not in values(gateway, 4)[3]
        assert gateway.presence(KEY)["state"] == "online"


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_gap_and_the_birth_that_heals_it(spark, qos) -> None:
    gateway = spark()
    with EdgeNode(gateway.port, "node-1") as node:
        node.subscribe("spBv1.0/plant/NCMD/node-1", 1)
        node.born()
        node.device_born()
        node.device_data((10, whole(10, 1)), qos=qos)
        is_not_asked(node)
        node.lose()
        node.device_data((10, whole(10, 2)), qos=qos)
        is_asked(node)
        node.device_data((10, whole(10, 3)), qos=qos)
        node.born(qos=qos)
        node.device_born()
        node.device_data((10, whole(10, 4)), qos=qos)
        found = values(gateway, 8)
    data = [each for each in found if each["type"] == "DDATA"]
    assert [each.get("stale") for each in data] == [None, "gap", "gap", None]
    assert [named(each) for each in data] == [{"Temperature": value} for value in (1, 2, 3, 4)]
    assert figures(gateway)["gaps"] == 1


def test_data_before_a_birth_and_aliases_that_nobody_knows(spark) -> None:
    gateway = spark()
    with EdgeNode(gateway.port, "node-1") as node:
        node.subscribe("spBv1.0/plant/NCMD/node-1", 1)
        node.device_data((10, whole(10, 0xFF)))
        is_asked(node)
        node.born()
        node.device_born()
        node.device_data((10, whole(10, 0xFF)), (99, whole(10, 0xFF)))
        unborn, _, _, data = values(gateway, 4)
        while node.messages.empty():  # (not so soon after the last time)
            node.device_data((10, whole(10, 1)))
        is_asked(node)
    assert (unborn["stale"], unborn["metrics"], "born" in unborn) == ("unborn", [{"alias": 10, "value": 255}], False)
    assert data["stale"] == "unknown-metric"
    assert data["metrics"] == [
        {"name": "Temperature", "alias": 10, "type": "Int8", "value": -1}, {"alias": 99, "value": 255},
    ]  # fmt: skip


def test_a_node_is_not_asked_again_and_again(spark) -> None:
    gateway = spark(RAW)
    with EdgeNode(gateway.port, "node-1") as node:
        node.subscribe("spBv1.0/plant/NCMD/node-1", 1)
        for _ in range(5):
            node.device_data((10, whole(10, 1)))
        is_asked(node)
        is_not_asked(node)
    assert figures(gateway)["rebirths"] == 1


@pytest.mark.parametrize("version", [V311, 5], ids=["3.1.1", "5"])
def test_a_payload_that_is_none_is_a_dead_letter_and_a_gap(spark, version) -> None:
    gateway = spark()
    with EdgeNode(gateway.port, "node-1", version=version) as node:
        node.subscribe("spBv1.0/plant/NCMD/node-1", 1)
        node.born()
        assert node.publish(node.topic("NDATA"), b"\xff\xff", 1) == 0
        node.lose()
        assert node.publish("spBv1.0/plant/NOTHING/node-1", b"x", 1) == 0
        node.say("NDATA", [metric(alias=2, value=chunk(15, "BSD"))])
        is_asked(node)
        assert values(gateway, 2)[1]["stale"] == "gap"
        wait_until(lambda: len(lines(gateway, "busbridge-dead-letters")) == 2, "two dead letters")
        assert figures(gateway)["invalid"] == 2
    assert gateway.forwarded("busbridge-dead-letters") == [b"\xff\xff", b"x"]
    headers = [each["headers"] for each in lines(gateway, "busbridge-dead-letters")]
    assert [each["error"] for each in headers] == ["not-sparkplug"] * 2
    assert [each["error-detail"] for each in headers] == [
        "it is no Sparkplug B payload", "its topic is none of spBv1.0",
    ]  # fmt: skip


def test_killed_between_birth_and_data_the_names_are_there(spark) -> None:
    gateway = spark()
    with EdgeNode(gateway.port, "node-1") as node:
        node.born()
        node.device_born()
        wait_until(lambda: gateway.presence(KEY), "the device's document")
        gateway.kill()
    gateway.start()
    wait_until(lambda: gateway.presence(KEY)["reason"] == "gateway-stopped", "nobody is there yet")
    with EdgeNode(gateway.port, "node-1", bd_seq=1) as node:
        node.seq = 2
        node.subscribe("spBv1.0/plant/NCMD/node-1", 1)
        node.device_data((10, whole(10, 0x80)), qos=1)
        is_asked(node)
        node.born()
        node.device_born(told={"Pressure": (10, INT8, whole(10, 1))})
        node.device_data((10, whole(10, 3)), qos=1)
        wait_until(lambda: gateway.presence(KEY)["state"] == "online", "the device")
    data = [each for _, body in gateway.messages() if (each := json.loads(body))["type"] == "DDATA"]
    assert [(named(each), each.get("stale")) for each in data] == [
        ({"Temperature": -128}, "unborn"), ({"Pressure": 3}, None),
    ]  # fmt: skip


def test_a_birth_waits_until_its_names_are_on_disk(spark) -> None:
    gateway = spark()
    with EdgeNode(gateway.port, "node-1") as node:
        store = sqlite3.connect(gateway.directory / "data" / "cold.sqlite", isolation_level=None)
        store.execute("BEGIN IMMEDIATE")  # nobody else can write now
        birth = payload([metric("m", whole(10, 1), alias=1, datatype=INT8)], seq=0, timestamp=1)
        info = node.client.publish(node.topic("NBIRTH"), birth, 1)
        node.client.publish(node.topic("NDATA"), payload([metric(alias=1, value=whole(10, 2))], seq=1), 1)
        time.sleep(0.5)
        assert (info.mid in node.published, gateway.messages()) == (False, [])
        store.execute("ROLLBACK")
        store.close()
        wait_until(lambda: len(node.published) == 2, "both are acknowledged")
    assert [named(json.loads(body)) for _, body in gateway.messages()][:2] == [{"m": 1}, {"m": 2}]


def test_a_birth_that_was_acknowledged_is_there_after_a_kill(spark) -> None:
    gateway = spark()
    for round_ in range(5):
        with EdgeNode(gateway.port, "node-1", bd_seq=round_) as node:
            node.born({f"metric {round_}": (1, INT8, whole(10, round_))}, qos=1)
            gateway.kill()
        gateway.start()
        with EdgeNode(gateway.port, "node-1", bd_seq=round_) as node:
            node.say("NDATA", [metric(alias=1, value=whole(10, 0xFF))], qos=1)
    said = [json.loads(body) for _, body in gateway.messages()]
    found = [named(each) for each in said if each["type"] == "NDATA"]
    assert found == [{f"metric {round_}": -1} for round_ in range(5)]


def test_without_json_the_payload_is_as_it_was(spark) -> None:
    gateway = spark(RAW)
    with EdgeNode(gateway.port, "node-1") as node:
        node.born()
        said = node.say("NDATA", [metric(alias=2, value=chunk(15, "BSD"))], qos=1)
        wait_until(lambda: len(lines(gateway)) == 2, "both records")
    wanted = payload([metric(alias=2, value=chunk(15, "BSD"))], seq=1, timestamp=said)
    assert gateway.forwarded("spark")[1] == wanted
    assert "content-type" not in lines(gateway)[1]["headers"]
    assert newest(gateway, "node-1")["reported"]["state"]["Properties/OS"] == "Linux"
    (*_, record) = [each for each in gateway.documents_of_all() if "routes" in each]
    assert [each["sparkplug"] for each in record["routes"]] == ["json", "payload", "json"]


def test_what_a_host_application_says(spark) -> None:
    gateway = spark()
    state = b'{"online":true,"timestamp":1700000000000}'
    with Device(gateway.port, "scada") as host:
        assert host.publish("spBv1.0/STATE/scada", state, 1, retain=True) == 0
        assert host.publish("spBv1.0/STATE/scada", b"ONLINE", 1) == 0
        command = payload(
            [metric("Node Control/Reboot", whole(14, 1), datatype=11), metric(alias=3, value=whole(10, 7))]
        )
        assert host.publish("spBv1.0/plant/NCMD/node-1", command, 1) == 0
        (told,) = values(gateway, 1, "told")
        assert values(gateway, 1, "hosts") == [json.loads(state)]
        wait_until(lambda: lines(gateway, "busbridge-dead-letters"), "what is no state")
    assert told == {
        "type": "NCMD", "group": "plant", "node": "node-1",
        "metrics": [{"name": "Node Control/Reboot", "type": "Boolean", "value": True}, {"alias": 3, "value": 7}],
    }  # fmt: skip
    with Device(gateway.port, "late") as late:
        late.subscribe("spBv1.0/STATE/#")
        assert late.message() == ("spBv1.0/STATE/scada", state, 0, True)
    assert gateway.documents("spBv1.0//scada") == []


def test_a_node_may_speak_as_another_client(new_gateway: NewGateway) -> None:
    routes = ROUTE.replace("{device}/#", "+/#") % JSON
    gateway = new_gateway(routes=routes).start()
    node_key = "spBv1.0/plant/node-1"
    with EdgeNode(gateway.port, "node-1", client="concentrator") as node:
        node.born(NODE, qos=1)
        wait_until(lambda: gateway.presence(node_key).get("state") == "online", "a document of its own")
        assert "reported" not in newest(gateway, "concentrator") or newest(gateway, "concentrator")["reported"] is None
        (birth,) = values(gateway, 1)
    assert birth["node"] == "node-1"
    assert lines(gateway)[0]["key"] == "concentrator"
    wait_until(lambda: gateway.presence(node_key)["state"] == "offline", "it went with its client")


def test_one_client_cannot_fill_the_gateway(spark) -> None:
    bounds = "json = true, devices_max = 2, metrics_max = 6, values_max = 8, rebirth = false"
    gateway = spark(f'seal = "plain"\nsparkplug = {{ {bounds} }}')
    with EdgeNode(gateway.port, "node-1") as node:
        node.born({"a": (1, INT8, whole(10, 1))}, qos=1)  # three metrics, with the two that every node has
        for name in ("one", "two", "three"):
            node.device_born(name, {"m": (ord(name[1]), INT8, whole(10, 1))})
        node.device_born("two", {f"m{number}": (number, INT8, whole(10, 1)) for number in range(3)})
        node.say("NDATA", [metric(alias=1, value=whole(10, 1))] * 9, qos=1)
        wait_until(lambda: len(lines(gateway, "busbridge-dead-letters")) == 3, "what was too much")
    details = [each["headers"]["error-detail"] for each in lines(gateway, "busbridge-dead-letters")]
    assert "2 devices already" in details[0]
    assert "more metrics than" in details[1]
    assert "more than 8 values" in details[2]
    assert len(lines(gateway)) == 3


def test_what_is_sealed_is_the_json(new_gateway: NewGateway) -> None:
    routes = ROUTE % 'seal = "seal"\nrecipients = ["team"]\nsparkplug = { json = true }'
    gateway = new_gateway('[recipients.team]\npublic_key = "team.pub"\n' + SMALL_QUEUE, routes=routes)
    subprocess.run(
        [sys.executable, "-m", "bridge", "keys", "new", "team", "--out", gateway.directory],
        check=True,
        capture_output=True,
    )
    gateway.start()
    with EdgeNode(gateway.port, "node-1") as node:
        node.born(qos=1)
        node.device_born()
        wait_until(lambda: gateway.presence(KEY).get("state") == "online", "the device's presence")
        wait_until(lambda: len(lines(gateway)) == 2, "the records")
        topic = node.topic("NBIRTH")
    line, record = lines(gateway)[0], next(each for each in gateway.records() if each.kind == MESSAGE)
    assert line["headers"]["content-type"] == "application/json"
    private = load_private(gateway.directory / "team.key")
    opened = open_sealed(private, dict(decode_headers(record.headers)), "node-1", topic, record.seq, record.payload)
    assert named(json.loads(opened))["Supply Voltage"] == 12.1
    assert b"Supply" not in record.payload
    assert "Supply" not in json.dumps(gateway.documents_of_all())


def test_data_is_reported_state_where_that_is_asked_for(spark) -> None:
    gateway = spark('seal = "plain"\nsparkplug = { reported_interval = "300 ms" }')
    with EdgeNode(gateway.port, "node-1") as node:
        node.born()
        node.device_born()
        for value in range(20):
            node.device_data((10, whole(10, value)))
        wait_until(
            lambda: newest(gateway, KEY).get("reported", {}).get("state", {}).get("Temperature") == 19, "the last"
        )
        assert newest(gateway, KEY)["reported"]["version"] < 10
        assert newest(gateway, KEY)["reported"]["state"]["Running"] is True


def test_check_says_what_becomes_of_a_topic(spark) -> None:
    gateway = spark()
    for topic, words in (
        ("spBv1.0/plant/NDATA/node-1", ["JSON with every metric named", "NDATA of the edge node node-1", "]: node-1"]),
        ("spBv1.0/plant/DBIRTH/node-1/pump", ["the device pump behind the edge node node-1", f"]: {KEY}"]),
        ("spBv1.0/plant/NBIRTH/node-1/pump", ["a dead letter: its topic is none of spBv1.0"]),
        ("spBv1.0/STATE/node-1", ["the state of the host application node-1"]),
    ):
        command = [sys.executable, "-m", "bridge", "check", "--config", str(gateway.config)]
        done = subprocess.run(
            [*command, "--route", topic, "--device", "node-1"], check=True, capture_output=True, text=True, cwd=CHECKOUT
        )
        assert [word for word in words if word not in done.stdout] == [], done.stdout


def test_figures_for_people_and_for_programs(spark) -> None:
    gateway = spark()
    with EdgeNode(gateway.port, "node-1") as node:
        node.born(qos=1)
        node.lose()
        node.say("NDATA", qos=1)
        command = [sys.executable, "-m", "bridge", "status", "--config", str(gateway.config)]
        said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=CHECKOUT).stdout
        assert figures(gateway) == {
            "nodes_alive": 1, "births": 1, "deaths": 0, "gaps": 1, "rebirths": 1, "invalid": 0,
        }  # fmt: skip
    assert "Sparkplug: 1 edge nodes there, 1 gaps, 1 births asked for, 0 messages that are none" in said
