"""Reported and desired state as a device meets them, with the bus side's log for the devices written by the test."""

from __future__ import annotations

import json
import shutil

import pytest

from bridge.log.cursor import Cursor
from bridge.log.log_id import load_or_create_log_id
from bridge.log.record import DESIRED, encode, encode_context
from tests.interop.conftest import NewGateway
from tests.interop.gateway import NO_SINK, Gateway, wait_until
from tests.interop.paho_device import V5, V311, Device
from tests.interop.wire import Wire
from tests.unit.log.lane import LOG_ID
from tests.unit.log.lane import Lane as Log

REPORTED, DESIRED_TOPIC, DELTA = (f"devices/dev-1/state/{name}" for name in ("reported", "desired", "delta"))


@pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_reports_are_merged(broker: Gateway, version: int, qos: int) -> None:
    name = f"reports-{version}-{qos}"
    with Device(broker.port, name, version) as device:
        for patch in (b'{"a":1,"b":{"c":2}}', b'{"b":{"c":null,"d":3}}', b'{"a":null}'):
            assert device.publish(f"devices/{name}/state/reported", patch, qos) == 0
        wait_until(lambda: len(broker.documents(name)) >= 4, "the documents")
        newest = broker.documents(name)[-1]
    assert (newest["reported"]["version"], newest["reported"]["state"]) == (3, {"b": {"d": 3}})
    assert newest["presence"]["state"] == "online"


@pytest.mark.parametrize("bad", [b"[]", b"nonsense", b'{"a":' * 100 + b"1" + b"}" * 100])
def test_a_report_that_is_none_is_refused_and_said_so(broker: Gateway, bad: bytes) -> None:
    with Device(broker.port, "bad-reports", V5) as device:
        assert device.publish("devices/bad-reports/state/reported", bad, 1) == 0x99
        assert device.publish("devices/bad-reports/state/reported", b'{"a":1}', 1) == 0
    assert "refused device=bad-reports " in broker.log()


def test_a_report_that_is_none_is_not_acknowledged_to_who_could_not_hear_why(broker: Gateway) -> None:
    with Wire(broker.port, "old-reports") as wire:
        wire.connected()
        wire.publish("devices/old-reports/state/reported", b"nonsense", 1, 1)
        with pytest.raises(ConnectionError):
            wire.receive()
    assert "refused device=old-reports " in broker.log()


def test_presence_through_a_device_s_day(broker: Gateway) -> None:
    with Device(broker.port, "day", V5):
        wait_until(lambda: broker.presence("day").get("state") == "online", "online")
        online = broker.presence("day")
    wait_until(lambda: broker.presence("day").get("state") == "offline", "offline")
    offline = broker.presence("day")
    assert (online["reason"], offline["reason"]) == (None, "disconnected")
    assert (online["gateway"], online["gateway_epoch"]) == ("gw-test", 1)
    assert str(online["since"]) <= str(offline["last_seen"]) <= str(offline["since"])
    with Device(broker.port, "day", V5) as device:
        device.drop()
    wait_until(lambda: broker.presence("day").get("reason") == "connection-lost", "lost")


@pytest.fixture
def desired(new_gateway: NewGateway) -> Gateway:
    """A gateway that finds three desired states of a device, which was here before, in its downlink log."""
    gateway = new_gateway('[downlink]\ndesired_topic = "device-desired"\n', sink=NO_SINK)
    directory = gateway.directory / "data" / "downlink"
    gateway.start()
    with Device(gateway.port, "dev-1", V5):
        wait_until(lambda: gateway.documents("dev-1"), "it is known")
    assert gateway.stop() == 0
    shutil.rmtree(directory)
    log = Log(directory)
    for version, state in ((1, {"a": 1}), (2, {"a": 2, "b": 3}), (1, {"a": "late"})):
        body = json.dumps({"version": version, "state": state}).encode()
        log.writer.append(encode(DESIRED, 0, 0, 0, 0, encode_context("dev-1", ""), b"", body))
    log.writer.close()
    (directory / "LOG").write_text(LOG_ID.hex())
    assert load_or_create_log_id(directory) == LOG_ID
    Cursor.save(directory, LOG_ID, 1)
    return gateway


def start_and_apply(gateway: Gateway) -> None:
    """Starts it and waits until it has taken over what is desired."""
    gateway.start()
    wait_until(
        lambda: any((document.get("desired") or {}).get("version") == 2 for document in gateway.documents("dev-1")),
        "the desired state is in the document",
    )


def test_what_is_desired_is_retained_for_the_device_and_the_delta_follows_its_reports(desired: Gateway) -> None:
    start_and_apply(desired)
    with Device(desired.port, "dev-1", V5) as device:
        device.subscribe("devices/dev-1/state/+", 1)
        for _ in range(2):
            topic, payload, _, retained = device.message()
            assert retained
            assert json.loads(payload) == {"version": 2, "state": {"a": 2, "b": 3}}, topic
        device.publish(REPORTED, b'{"a":2}', 1)
        told = dict(device.message()[:2] for _ in range(2))
        assert told[REPORTED] == b'{"a":2}'
        assert json.loads(told[DELTA]) == {"version": 2, "state": {"b": 3}}
    assert desired.stop() == 0
    cursor = Cursor.load(desired.directory / "data" / "downlink")
    assert cursor is not None
    assert cursor.position == 4
    newest = desired.documents("dev-1")[-1]
    assert (newest["desired"]["version"], newest["delta"]) == (2, {"b": 3})


def test_a_session_that_was_away_over_a_restart_finds_what_is_desired(desired: Gateway) -> None:
    start_and_apply(desired)
    with Device(desired.port, "dev-1", V5, clean=False, expiry_s=600) as device:
        device.subscribe(DESIRED_TOPIC, 1)
        assert json.loads(device.message()[1])["version"] == 2
    assert desired.stop() == 0
    desired.start()
    with Device(desired.port, "dev-1", V5, clean=False, expiry_s=600) as device:
        assert device.connects == [(True, 0)]
        assert json.loads(device.message()[1])["version"] == 2
    assert desired.stop() == 0
