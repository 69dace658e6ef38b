"""`busbridge devices set` on a real Kafka, with a gateway and devices: who takes it over, and who is told what."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.interop.gateway import CHECKOUT
from tests.interop.paho_device import Device
from tests.support.kafka.device_site import fresh_topic, running_gateway


@pytest.fixture
def topic(kafka, make_topic, read):
    return fresh_topic("set", kafka.address, make_topic, read)


@pytest.fixture
def gateway(kafka, topic, tmp_path):
    with running_gateway(tmp_path, kafka.address, topic.name) as gateway:
        yield gateway


@pytest.fixture
def start(kafka, topic):
    def run(*words, device="dev-1"):
        topics = ["--topic", topic.name, "--desired-topic", f"{topic.name}-desired", "--kafka", kafka.address]
        command = [sys.executable, "-m", "bridge", "devices", "set", device, *words, *topics, "--json"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=CHECKOUT, text=True, **pipes)

    return run


@pytest.fixture
def desire(start):
    def run(*words, code=0, given="", **where):
        process = start(*words, **where)
        out, err = process.communicate(given, timeout=60)
        assert (process.returncode, "Traceback" in err) == (code, False), err
        return json.loads(out) if code == 0 else err

    return run


def wanted(topic, device="dev-1"):
    """Version and state of every record of the device in the topic of desired states, in order."""
    records = [each for each in topic._read(f"{topic.name}-desired") if each.key() == device.encode()]
    return [json.loads(each.value()) if each.value() is not None else None for each in records]


def test_a_state_that_the_device_takes_up(topic, gateway, desire, tmp_path):
    with Device(gateway.port, "dev-1") as device:
        assert device.subscribe("devices/dev-1/state/desired", 1) is not None
        done = desire('{"interval_s": 10, "net": {"vlan": 7}}', "--wait", "20 s")
        assert (done["version"], done["outcome"]) == (1, "taken")
        message = device.messages.get(timeout=20)
        assert json.loads(message.payload) == {"version": 1, "state": {"interval_s": 10, "net": {"vlan": 7}}}
        late = desire("--patch", '{"net": null}', "--wait", "500 ms", "--in-step", code=1)
        assert "version 2 " in late, "it is not reported, and perhaps not even taken over"
        device.publish("devices/dev-1/state/reported", b'{"interval_s": 10}', 1)
        file = tmp_path / "wanted.json"
        file.write_text('{"interval_s": 10}')
        assert desire("--file", str(file), "--wait", "20 s", "--in-step")["outcome"] == "in-step"
        assert topic.latest()["dev-1"]["desired"]["version"] == 3
        assert desire("--remove", "--wait", "20 s") | {"offset": 0, "partition": 0} == {
            "device": "dev-1", "version": None, "partition": 0, "offset": 0, "outcome": "taken",
        }  # fmt: skip
        assert topic.latest()["dev-1"]["desired"] is None
    assert wanted(topic) == [
        {"version": 1, "state": {"interval_s": 10, "net": {"vlan": 7}}},
        {"version": 2, "state": {"interval_s": 10}},
        {"version": 3, "state": {"interval_s": 10}},
        None,
    ]


def test_versions_that_are_there(topic, desire, kafka, produce):
    produce(kafka.address, f"{topic.name}-desired", (b"dev-1", b'{"version": 7, "state": {"a": 1}}'))
    assert "there is version 7: gateways would refuse 7" in desire("{}", "--version", "7", code=1)
    assert "the present version is 7, not 6" in desire("{}", "--if-version", "6", code=1)
    assert "the present version is none, not 1" in desire("{}", "--if-version", "1", device="dev-2", code=1)
    assert wanted(topic) == [{"version": 7, "state": {"a": 1}}]
    assert desire("-", "--version", "20", code=2)
    assert desire("--file", "-", "--version", "20", given='{"b": 2}')["version"] == 20
    assert desire("--patch", '{"a": 3}', "--if-version", "20")["version"] == 21
    assert desire("{}", "--if-version", "0", device="dev-2")["version"] == 1
    produce(kafka.address, f"{topic.name}-desired", (b"dev-3", b'{"state": {}}'), (b"dev-3", b"no JSON"))
    assert desire('{"c": 1}', device="dev-3")["version"] >= 1
    assert wanted(topic)[-1] == {"version": 21, "state": {"b": 2, "a": 3}}


def test_what_is_not_taken_in_is_said_to_whom_set_it(topic, desire):
    assert "JSON is no JSON object" in desire("[1]", code=2)
    assert "JSON is no JSON object" in desire("{", code=2)
    assert "--patch is no JSON object" in desire("--patch", "nonsense", code=2)
    assert "standard input is no JSON object" in desire("--file", "-", given="\x00", code=2)
    assert "/nowhere.json" in desire("--file", "/nowhere.json", code=1)
    assert "nested deeper than 64 levels" in desire('{"a":' * 80 + "1" + "}" * 80, code=2)
    assert "more than 262144" in desire("--file", "-", given=json.dumps({"a": "x" * 300_000}), code=2)
    assert "One of JSON, --file, --patch and --remove" in desire(code=2)
    assert "One of JSON, --file, --patch and --remove" in desire("{}", "--remove", code=2)
    assert "'parsecs' is not a known unit" in desire("{}", "--wait", "5 parsecs", code=2)
    assert "no gateway knows dev-1 yet" in desire("{}", "--wait", "300 ms", code=1)
    assert wanted(topic) == [{"version": 1, "state": {}}]


def test_two_who_set_it_at_once_do_not_overlook_each_other(topic, start):
    both = [start(f'{{"by": {number}}}') for number in range(4)]
    done = [json.loads(each.communicate(timeout=60)[0]) for each in both]
    versions = sorted(each["version"] for each in done)
    assert versions == sorted(set(versions))
    only = [start(f'{{"only": {number}}}', "--if-version", str(versions[-1])) for number in range(4)]
    errors = [each.communicate(timeout=60)[1] for each in only]
    assert sorted(each.returncode for each in only) == [0, 1, 1, 1], errors
