"""Payloads judged at the edge, through a real daemon: what fits goes on, what does not is a dead letter or refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bridge.log.record import decode_headers
from bridge.security.envelope import open_sealed
from bridge.security.keys import load_private
from tests.interop.conftest import NewGateway
from tests.interop.gateway import CHECKOUT, NO_SINK, Gateway, wait_until
from tests.interop.paho_device import V5, V311, Device
from tests.support.ports import free_port

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
ROUTE = """
[[routes]]
filter = "devices/{device}/telemetry/#"
topic = "telemetry"
%s
schema = { json = "reading.json" }
"""
GOOD, BAD = b'{"n": 1}', b'{"n": "one"}'
TOPIC = "devices/%s/telemetry/t"


@pytest.fixture
def judging(new_gateway: NewGateway):
    """`judging(settings, extra="", sink=…)`: a gateway, not started, whose route has a schema."""

    def make(settings: str, **options: str) -> Gateway:
        gateway = new_gateway(routes=ROUTE % settings, **options)
        (gateway.directory / "reading.json").write_text(json.dumps(SCHEMA))
        return gateway

    return make


def lines(gateway: Gateway) -> list[dict[str, object]]:
    files = sorted((gateway.directory / "out").rglob("*.jsonl"))
    return [msgspec.json.decode(line) for path in files for line in path.read_bytes().split(b"\n")[:-1]]


def test_what_does_not_fit_is_acknowledged_and_a_dead_letter_in_its_order(judging) -> None:
    gateway = judging('seal = "plain"').start()
    devices = {f"d-{version}-{qos}": (version, qos) for version in (V311, V5) for qos in (0, 1, 2)}
    for name, (version, qos) in devices.items():
        with Device(gateway.port, name, version) as device:
            for payload in (GOOD, BAD, GOOD, BAD):
                assert device.publish(TOPIC % name, payload, qos) == 0
    wait_until(lambda: len(lines(gateway)) == 4 * len(devices), "four records of each")
    for name in devices:
        found = [each for each in lines(gateway) if each["key"] == name]
        assert [each["topic"] for each in found] == ["telemetry", "busbridge-dead-letters"] * 2
        assert [each["value"].encode() for each in found] == [GOOD, BAD, GOOD, BAD]
        assert gateway.log().count(f"misfit device={name} ") == 1, "once for a topic of a connection"
    letter = dict(found[1]["headers"])
    assert letter["error"] == "schema-mismatch"
    assert letter["error-detail"] == "it does not keep to #/properties/n/type of the JSON Schema"
    assert (letter["original-topic"], letter["original-partition"]) == ("telemetry", "")
    assert letter["mqtt-topic"] == TOPIC % name
    assert "error" not in dict(found[0]["headers"])


def test_a_misfit_is_on_disk_before_it_is_acknowledged(judging) -> None:
    gateway = judging('seal = "plain"', sink=NO_SINK).start()
    with Device(gateway.port, "d") as device:
        assert device.publish(TOPIC % "d", BAD, 1) == 0
        gateway.kill()
    assert gateway.messages() == [("d", BAD)]


def test_refused_with_a_reason_where_there_are_reasons(judging) -> None:
    gateway = judging('seal = "plain"\non_invalid = "refuse"').start()
    with Device(gateway.port, "new", V5) as device:
        assert [device.publish(TOPIC % "new", payload, 1) for payload in (BAD, GOOD)] == [0x99, 0]
        # paho-mqtt goes on after a PUBREC that refuses, and tells what PUBCOMP says: there is no such exchange.
        assert [device.publish(TOPIC % "new", payload, 2) for payload in (BAD, GOOD)] == [0x92, 0]
    with Device(gateway.port, "old", V311) as device:
        assert device.publish(TOPIC % "old", GOOD, 1) == 0
        device.client.publish(TOPIC % "old", BAD, 1)
        wait_until(lambda: device.disconnects, "the end of the connection")
    wait_until(lambda: len(lines(gateway)) == 3, "what fits")
    assert {each["value"] for each in lines(gateway)} == {GOOD.decode()}
    assert "it does not keep to #/properties/n/type" in gateway.log()


def test_what_cannot_be_judged_is_not_refused(new_gateway: NewGateway) -> None:
    routes = (
        ROUTE.replace('{ json = "reading.json" }', '{ registry = "device" }') % 'seal = "plain"\non_invalid = "refuse"'
    )
    nobody = f'[schema_registry]\nurl = "http://127.0.0.1:{free_port()}"\n'
    gateway = new_gateway(nobody, routes=routes).start()
    framed = b"\0\0\0\0\1" + GOOD
    with Device(gateway.port, "d", V5) as device:
        assert device.publish(TOPIC % "d", framed, 1) == 0
        assert device.publish(TOPIC % "d", GOOD, 1) == 0x99
    wait_until(lambda: len(lines(gateway)) == 1, "the dead letter")
    assert lines(gateway)[0]["value"].encode() == framed
    assert dict(lines(gateway)[0]["headers"])["error"] == "schema-unavailable"


def test_a_will_is_judged_too(judging) -> None:
    gateway = judging('seal = "plain"').start()
    for name, payload in (("good", GOOD), ("bad", BAD)):
        with Device(gateway.port, name, will=(TOPIC % name, payload, 1, False)) as device:
            device.drop()
    wait_until(lambda: len(lines(gateway)) == 2, "two wills")
    assert {each["key"]: each["topic"] for each in lines(gateway)} == {
        "good": "telemetry",
        "bad": "busbridge-dead-letters",
    }


def test_a_sealed_route_judges_the_plain_payload_and_seals_misfits_too(judging) -> None:
    gateway = judging('recipients = ["team"]', extra='[recipients.team]\npublic_key = "team.pub"\n')
    subprocess.run(
        [sys.executable, "-m", "bridge", "keys", "new", "team", "--out", str(gateway.directory)],
        cwd=CHECKOUT,
        check=True,
    )
    gateway.start()
    with Device(gateway.port, "d") as device:
        for payload in (GOOD, BAD):
            assert device.publish(TOPIC % "d", payload, 1) == 0
    wait_until(lambda: len(gateway.messages()) == 2, "two records")
    wait_until(lambda: len(lines(gateway)) == 2, "two lines")
    assert [each["topic"] for each in lines(gateway)] == ["telemetry", "busbridge-dead-letters"]
    private = load_private(gateway.directory / "team.key")
    opened = []
    for record in gateway.records():
        headers = dict(decode_headers(record.headers))
        opened.append(open_sealed(private, headers, "d", TOPIC % "d", record.seq, record.payload))
        assert b"one" not in b"".join(headers.values())
    assert opened == [GOOD, BAD]


def check(gateway: Gateway, *more: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "check", "--config", str(gateway.config), *more],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_a_schema_that_cannot_be_used_is_found_by_check_and_ends_the_start(judging) -> None:
    gateway = judging('seal = "plain"')
    (gateway.directory / "reading.json").write_text('{"type": "objekt"}')
    code, said = check(gateway)
    assert code == 3
    assert "reading.json" in said
    assert "objekt" in said
    process = gateway.launch()
    assert process.wait(20) == 1
    assert "cannot start: " in gateway.log()
    assert "objekt" in gateway.log()


def test_check_explains_a_route(judging, tmp_path: Path) -> None:
    gateway = judging('seal = "plain"\nkey = "{4}"')
    (tmp_path / "bad").write_bytes(BAD)
    (tmp_path / "good").write_bytes(GOOD)
    way = ("--route", TOPIC % "d", "--device", "d")
    code, said = check(gateway, *way, "--payload", str(tmp_path / "good"))
    assert code == 0
    assert [line for line in said.splitlines() if line] == [
        "route devices/{device}/telemetry/#",
        "to the topic telemetry, lane normal, not sealed",
        "key 't'",
        "partition by the key (murmur2)",
        "format headers",
        "judged by a schema; what does not fit: dead-letter",
        "the payload fits",
    ]
    code, said = check(gateway, *way, "--payload", str(tmp_path / "bad"))
    assert (code, "#/properties/n/type" in said) == (3, True)
    assert check(gateway, "--route", "devices/other/telemetry/t", "--device", "d")[0] == 3
    assert "local broker" in check(gateway, "--route", "devices/d/else", "--device", "d")[1]
    assert check(gateway, "--route", TOPIC % "d")[0] == 2
