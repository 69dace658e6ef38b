"""`busbridge devices list` and `show` on a real Kafka: what they believe, and what they say where they cannot read."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.support.kafka.fetch import CHECKOUT

COMPACT = {"cleanup_policy": "compact"}


def instant(ago_s=0.0):
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=ago_s)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def document(device, state="online", gateway="gw-live", epoch=1, **more):
    presence = {"state": state, "since": instant(600), "last_seen": instant(600), "reason": None, "gateway": gateway}
    presence |= {"gateway_epoch": epoch, "lease_until": instant(500), "connected": instant(600), "protocol": "mqtt-5"}
    body = {"device": device, "presence": presence, "reported": None, "desired": None, "delta": {}}
    return device.encode(), json.dumps(body | more).encode()


def gateway(name, lease_until, epoch=1):
    body = {"gateway": name, "epoch": epoch, "lease_until": lease_until, "started": instant(900), "version": "1"}
    return f"gateway/{name}".encode(), json.dumps(body).encode()


@pytest.fixture
def fleet(kafka, make_topic, produce):
    """A topic of four partitions: two gateways, one dead, and devices of all kinds."""
    topic = f"states-{time.time_ns()}"
    make_topic(kafka.address, topic, 4, **COMPACT)
    half = {"version": 3, "at": instant(60), "state": {"interval_s": 60}}
    wanted = {"version": 2, "at": instant(60), "state": {"interval_s": 10}}
    produce(
        kafka.address,
        topic,
        gateway("gw-live", instant(-60)),
        gateway("gw-dead", instant(300)),
        document("dev-1", state="offline"),
        document("dev-1", reported=half, desired=wanted, delta={"interval_s": 10}),
        document("dev-2", gateway="gw-dead"),
        document("dev-3", state="offline", gateway="gw-dead"),
        document("dev-4", epoch=2),
        document("gone"),
        (b"gone", None),
        (b"odd\x1b[2J", b"no JSON"),
    )
    return topic


@pytest.fixture
def devices(kafka):
    def run(*words, server=kafka.address, code=0):
        where = ["--kafka", server] if server else []
        command = [sys.executable, "-m", "bridge", "devices", *words, *where]
        done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=120)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        return done

    return run


def test_a_list_says_what_may_be_believed(fleet, devices):
    done = devices("list", "--topic", fleet)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][:4] == ["device", "state", "since", "gateway"]
    assert [(line[0], line[1]) for line in lines[1:]] == [
        ("dev-1", "online"),
        ("dev-2", "unknown"),
        ("dev-3", "offline"),
        ("dev-4", "unknown"),
        ("odd\\x1b[2J", "unknown"),
    ]
    assert lines[1][3:] == ["gw-live", "mqtt-5", "3", "2", "pending"]
    assert done.stderr == "5 devices: 1 online, 1 offline, 3 unknown; 2 gateways\n"


def test_a_list_of_those_asked_for(fleet, devices):
    def names(*words):
        found = [json.loads(line) for line in devices("list", "--topic", fleet, "--json", *words).stdout.splitlines()]
        return [(each["device"], each["believed"]["state"]) for each in found]

    assert names("dev-*", "--unknown") == [("dev-2", "unknown"), ("dev-4", "unknown")]
    assert names("--gateway", "gw-dead") == [("dev-2", "unknown"), ("dev-3", "offline")]
    assert names("--pending", "--online") == [("dev-1", "online")]
    assert names("--margin", "1000", "dev-2") == [("dev-2", "online")]
    assert names("nobody-*") == []


def test_one_device(fleet, devices, kafka, tmp_path):
    page = devices("show", "dev-1", "--topic", fleet).stdout.splitlines()
    assert page[0].startswith("dev-1 is online since ")
    assert page[-2:] == ["missing in reported:", "  interval_s: desired 10, it reports 60"]
    config = tmp_path / "gw.toml"
    config.write_text(
        f'[gateway]\nid = "gw"\n[[listeners]]\nbind = "127.0.0.1:1883"\nanonymous = true\n'
        f'[kafka]\nbootstrap_servers = ["{kafka.address}"]\n[state]\ntopic = "{fleet}"\n'
    )
    found = json.loads(devices("show", "dev-2", "--json", "--config", str(config), server=None).stdout)
    assert (found["presence"]["state"], found["believed"]["state"]) == ("online", "unknown")
    assert "the lease of gateway gw-dead is over" in found["believed"]["why"]
    assert "there is 'dev-1'" in devices("show", "dve-1", "--topic", fleet, code=1).stderr


def test_tens_of_thousands(kafka, make_topic, produce, devices):
    topic = f"many-{time.time_ns()}"
    make_topic(kafka.address, topic, 4, **COMPACT)
    produce(kafka.address, topic, gateway("gw-live", instant(-600)), *(document(f"dev-{n:05}") for n in range(20_000)))
    done = devices("list", "--topic", topic)
    names = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    assert names == [f"dev-{number:05}" for number in range(20_000)]
    assert done.stderr == "20000 devices: 20000 online; 1 gateways\n"


def test_a_reader_that_goes_is_no_error(fleet, kafka):
    words = f"{sys.executable} -m bridge devices list --topic {fleet} --kafka {kafka.address}"
    words += " | true; echo ${PIPESTATUS[0]}"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=60)
    assert (done.stdout, "rror" in done.stderr) == ("0\n", False), done.stderr


def test_what_stands_in_the_way_is_said(kafka, own_kafka, make_topic, produce, devices):
    assert "has no topic 'nowhere'" in devices("list", "--topic", "nowhere", code=1).stderr
    away = devices("list", server=own_kafka.address, code=1).stderr
    assert f"{own_kafka.address}: nobody listens there" in away
    assert "where is Kafka?" in devices("list", server=None, code=2).stderr
    assert "HOST:PORT" in devices("list", server="kafka", code=2).stderr
    closed = f"closed-{time.time_ns()}"
    make_topic(kafka.address, closed, **COMPACT)
    produce(kafka.address, closed, document("dev-1"))
    for operation, permission, words in (
        (AclOperation.READ, AclPermissionType.DENY, "or does not show it to this account"),
        (AclOperation.DESCRIBE, AclPermissionType.ALLOW, "does not let this account read the topic"),
    ):
        everybody = (closed, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation)
        binding = AclBinding(ResourceType.TOPIC, *everybody, permission)
        admin = AdminClient({"bootstrap.servers": kafka.address})
        admin.create_acls([binding])[binding].result(30)
        assert words in devices("show", "x", "--topic", closed, code=1).stderr


def test_gateways_and_what_flows_where(fleet, devices, kafka, produce):
    route = {"filter": "devices/{device}/telemetry/#", "topic": "telemetry", "key": "device", "format": "headers"}
    route |= {"seal": "seal", "recipients": ["data-team"], "schema": {"kind": "avro", "message": None}}
    record = {"gateway": "gw-new", "epoch": 3, "lease_until": instant(-60), "started": instant(9), "version": "2"}
    record |= {"routes": [route], "topics": {"state": fleet, "dead_letters": "letters", "commands": None}}
    produce(kafka.address, fleet, (b"gateway/gw-new", json.dumps(record).encode()), (b"gateway/odd", b"7"))
    produce(kafka.address, fleet, (b"gateway/odder", b'{"epoch": 1, "routes": 7, "topics": "x"}'))
    lines = devices("gateways", "--topic", fleet).stdout.splitlines()
    assert [(line.split()[0], "alive" in line.split()) for line in lines[1:]] == [
        ("gw-dead", False),
        ("gw-live", True),
        ("gw-new", True),
        ("odder", False),
    ]
    rows = [line.split("  ") for line in devices("gateways", "--routes", "--topic", fleet).stdout.splitlines()]
    assert [[cell.strip() for cell in row if cell] for row in rows[1:]] == [
        ["gw-new", "devices/{device}/telemetry/#", "telemetry", "device", "headers", "seal, data-team", "avro"],
        ["gw-new", "(state)", fleet],
        ["gw-new", "(dead letters)", "letters"],
    ]
    whole = [json.loads(line) for line in devices("gateways", "--json", "--topic", fleet).stdout.splitlines()]
    assert whole[-2] == record | {"alive": True}
