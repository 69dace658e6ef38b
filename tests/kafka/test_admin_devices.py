"""What the admin interface is told to have done with devices: by way of Kafka, and back, on a real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from firmware_sim.child import children_of
from tests.interop.gateway import CHECKOUT, wait_until
from tests.interop.paho_device import Device
from tests.support.curl import curl
from tests.support.kafka.device_site import fresh_topic, running_gateway


@pytest.fixture
def topic(kafka, make_topic, read):
    return fresh_topic("admin", kafka.address, make_topic, read)


@pytest.fixture
def gateway(kafka, topic, tmp_path):
    with running_gateway(tmp_path, kafka.address, topic.name) as gateway:
        yield gateway


@pytest.fixture
def ask(gateway):
    """Through the local socket; as soon as there is a way to Kafka."""

    def request(method, path, *words, **body):
        data = json.dumps(body).encode() if body else None
        socket = gateway.data / "admin.sock"
        return curl(f"http://gateway/devices/{path}", "--request", method, *words, socket=socket, body=data)

    gateway.data = gateway.directory / "data"
    return request


@pytest.fixture
def device(gateway, ask):
    with Device(gateway.port, "dev-1") as device:
        wait_until(lambda: ask("GET", "dev-1").status == 200, "its document")
        wait_until(lambda: ask("DELETE", "dev-1/desired?wait=20").status == 200, "there is a way to Kafka", 40)
        yield device


def in_topic(topic, which):
    return [(each.key(), json.loads(each.value() or b"null")) for each in topic._read(f"{topic.name}-{which}")]


def test_what_is_desired_goes_by_way_of_kafka(topic, ask, device):
    assert device.subscribe("devices/dev-1/state/desired", 1) == 1
    done = ask("PUT", "dev-1/desired?wait=20", state={"interval_s": 10, "net": {"vlan": 7}})
    assert (done.status, done.body) == (200, {"device": "dev-1", "version": 1, "outcome": "taken"})
    assert json.loads(device.message()[1]) == {"version": 1, "state": {"interval_s": 10, "net": {"vlan": 7}}}
    assert ask("PATCH", "dev-1/desired", net=None).status == 202
    done = ask("PATCH", "dev-1/desired?wait=20", "--header", 'If-Match: "2"', interval_s=20)
    assert (done.status, done.body["version"]) == (200, 3), "it stands on version 2, which was on its way"
    found = ask("GET", "dev-1")
    assert (found.etag, found.body["desired"]["state"]) == ('"3"', {"interval_s": 20})
    assert ask("PUT", "dev-1/desired", "--header", 'If-Match: "2"', state={}).status == 412
    assert ask("PUT", "dev-1/desired", state={}, version=3).status == 409
    assert ask("PUT", "dev-1/desired?wait=20", state={"a": 1}, version=10).body["version"] == 10
    assert ask("DELETE", "dev-1/desired?wait=20", "--header", 'If-Match: "10"').body["outcome"] == "taken"
    assert ask("GET", "dev-1").body["desired"] is None
    versions = [value and value["version"] for key, value in in_topic(topic, "desired") if key == b"dev-1"]
    assert versions[-5:] == [1, 2, 3, 10, None]


def test_somebody_else_was_quicker(topic, kafka, produce, ask, device):
    assert ask("PUT", "dev-1/desired?wait=20", state={"by": "us"}).status == 200
    produce(kafka.address, f"{topic.name}-desired", (b"dev-1", b'{"version": 2, "state": {"by": "them"}}'))
    done = ask("PUT", "dev-1/desired?wait=20", state={"by": "us"})
    desired = ask("GET", "dev-1").body["desired"]
    if done.status == 200:  # the gateway had heard of theirs
        assert desired["version"] == done.body["version"] == 3
    else:
        assert (done.status, desired["version"], desired["state"]) == (409, 2, {"by": "them"})


def test_labels_go_by_way_of_kafka(topic, gateway, ask, device):
    done = ask("PUT", "dev-1/labels?wait=20", site="north", model="x1")
    labels = {"site": "north", "model": "x1"}
    assert (done.status, done.body["labels"], done.body["outcome"]) == (200, labels, "taken")
    assert ask("PATCH", "dev-1/labels", site="south").status == 202
    done = ask("PATCH", "dev-1/labels?wait=20", model=None)
    assert (done.status, done.body["labels"]) == (200, {"site": "south"}), "it stands on what was on its way"
    assert ask("GET", "dev-1").body["labels"] == {"site": "south"}
    (found,) = curl("http://gateway/devices?label=site=south", socket=gateway.data / "admin.sock").body["devices"]
    assert found["device"] == "dev-1"
    bad = [
        ask("PUT", "dev-1/labels", **{"a b": "c"}),
        ask("PUT", "dev-1/labels", site=1),
        ask("PUT", "x/labels", a="b"),
    ]
    assert [each.status for each in bad] == [400, 400, 404]
    assert ask("PATCH", "dev-1/labels", **{f"k{number}": "v" for number in range(200)}).status == 400
    written = [value["labels"] for key, value in in_topic(topic, "desired") if key == b"labels/dev-1"]
    assert written == [labels, {"site": "south", "model": "x1"}, {"site": "south"}]


def test_a_command_and_what_becomes_of_it(topic, gateway, ask, device):
    assert device.subscribe("devices/dev-1/commands/+", 1) == 1
    sent = ask("POST", "dev-1/commands", name="reboot", payload={"in_s": 5})
    assert (sent.status, sent.body["outcome"]) == (202, "kept")
    name, payload, _, _ = device.message()
    assert (name, json.loads(payload)["payload"]) == (f"devices/dev-1/commands/{sent.body['id']}", {"in_s": 5})
    device.publish(f"{name}/result", b'{"status": "succeeded", "payload": 1}', 1)
    late = ask("POST", "dev-1/commands?wait=20", name="x", id="mine", deadline="2020-01-01T00:00:00Z")
    assert (late.status, late.body["id"], late.body["outcome"]) == (200, "mine", "expired")
    finals = {sent.body["id"]: "succeeded", "mine": "expired"}

    def said():
        return {each["id"]: each["outcome"] for _, each in in_topic(topic, "outcomes")}

    wait_until(lambda: said() == finals, "readers of the topic know of both", 40)
    counted = curl("http://gateway/status", socket=gateway.data / "admin.sock").body["status"]["commands"]
    assert counted["pending"] == 0
    assert (counted["outcomes"]["succeeded"], counted["outcomes"]["expired"]) == (1, 1)
    assert [key for key, _ in in_topic(topic, "commands")] == [b"dev-1", b"dev-1"]


def test_while_there_is_no_way_to_kafka_nothing_is_taken(gateway, ask, device):
    for pid in children_of(gateway.pid):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: ask("PUT", "dev-1/desired", state={}).status == 503, "the bus side is away")
    wait_until(lambda: ask("PUT", "dev-1/desired?wait=20", state={"b": 2}).status == 200, "it is back", 40)
    assert ask("GET", "dev-1").body["desired"]["state"] == {"b": 2}


def test_the_commands_go_by_the_daemon_too(gateway, device):
    def devices(*words):
        command = [sys.executable, "-m", "bridge", "devices", *words, "--local", "--config", str(gateway.config)]
        return subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=True, timeout=90).stdout

    assert device.subscribe("devices/dev-1/commands/+", 1) == 1
    assert (
        devices("set", "dev-1", '{"a": 1}', "--wait", "30 s") == "version 1 of dev-1's desired state was taken over\n"
    )
    done = json.loads(devices("set", "dev-1", "--patch", '{"b": 2}', "--if-version", "1", "--wait", "30 s", "--json"))
    assert done == {"device": "dev-1", "version": 2, "outcome": "taken"}

    def answer(client, _user, message):
        client.publish(f"{message.topic}/result", b'{"status": "succeeded", "payload": 7}', 1)

    device.client.message_callback_add("devices/dev-1/commands/+", answer)
    assert devices("send", "dev-1", "reboot", "--deadline", "40 s") == "succeeded: 7\n"
