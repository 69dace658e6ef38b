"""The daemon as clients that are not ours find it: paho-mqtt in both versions, mosquitto's two commands."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.interop.gateway import Gateway, wait_until
from tests.interop.paho_device import V5, V311, Device
from tests.interop.wire import PUBREC, Wire

VERSIONS = pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
UNKNOWN_TO_PUBREL = 0x92
"""What paho reports for a refused QoS 2 message: it passes over the reason in PUBREC and sends PUBREL all the same."""
_numbers = iter(range(1_000_000))


@pytest.fixture
def name() -> str:
    """A client id of the test's own: the gateway is shared."""
    return f"dev-{next(_numbers)}"


@pytest.mark.paho("basic")
@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("local", [True, False], ids=["local", "uplink"])
def test_every_quality_of_service_both_ways(broker: Gateway, name: str, version: int, qos: int, local: bool) -> None:
    topic = f"devices/{name}/{'chat' if local else 'telemetry'}/x"
    with Device(broker.port, name, version) as device:
        assert device.connects == [(False, 0)]
        assert device.subscribe(topic, qos) == qos
        assert device.publish(topic, b"\x00payload\xff", qos) == 0
        assert device.message() == (topic, b"\x00payload\xff", qos, False)
        assert device.messages.empty()
    taken = [payload for who, payload in broker.messages() if who == name]
    assert taken == ([] if local else [b"\x00payload\xff"])


@VERSIONS
@pytest.mark.parametrize(
    ("topic_filter", "topics"),
    [
        ("devices/{}/a/+", ["a/x", "a/y"]),
        ("devices/{}/#", ["a/x", "a/y", "b", "a/x/deep"]),
        ("devices/{}/+/x", ["a/x"]),
        ("devices/{}/b", ["b"]),
    ],
)
def test_wildcards(broker: Gateway, name: str, version: int, topic_filter: str, topics: list[str]) -> None:
    with Device(broker.port, name, version) as device:
        device.subscribe(topic_filter.format(name), 1)
        for topic in ("a/x", "a/y", "b", "a/x/deep"):
            device.publish(f"devices/{name}/{topic}", topic.encode(), 1)
        assert [device.message()[1].decode() for _ in topics] == topics
        assert device.messages.empty()


@pytest.mark.paho("retained")
@VERSIONS
@pytest.mark.mqtt("MQTT-3.3.1-5", "MQTT-3.3.1-6")
def test_a_retained_message_finds_a_late_subscriber_until_it_is_removed(
    broker: Gateway, name: str, version: int
) -> None:
    topic = f"devices/{name}/telemetry/last"
    with Device(broker.port, name, version) as device:
        device.publish(topic, b"first", 1, retain=True)
        device.publish(topic, b"second", 1, retain=True)
        device.subscribe(f"devices/{name}/#", 1)
        assert device.message() == (topic, b"second", 1, True)
        device.publish(topic, b"", 1, retain=True)
        assert device.message() == (topic, b"", 1, False)
    with Device(broker.port, name, version) as device:
        device.subscribe(topic, 1)
        device.publish(topic, b"live", 1)
        assert device.message() == (topic, b"live", 1, False)


@pytest.mark.paho("will")
@VERSIONS
@pytest.mark.mqtt("MQTT-3.1.2-8", "MQTT-3.1.2-10", "MQTT-3.14.4-3")
def test_a_will_is_published_for_who_goes_without_a_word_and_not_for_who_says_good_bye(
    broker: Gateway, name: str, version: int
) -> None:
    topic = f"devices/{name}/telemetry/will"
    with Device(broker.port, f"{name}-watch", version) as watch:
        assert watch.subscribe(f"devices/{name}-watch/#", 1) == 1
        for last_word, expected in (("drop", [b"gone"]), ("disconnect", [])):
            before = sum(1 for who, _ in broker.messages() if who == name)
            with Device(broker.port, name, version, will=(topic, b"gone", 1, False)) as device:
                if last_word == "drop":
                    device.drop()
            ended = f"gone device={name} "
            wait_until(lambda ended=ended: ended in broker.log(), "the end is in the log")
            wait_until(
                lambda before=before, expected=expected: (
                    [payload for who, payload in broker.messages() if who == name][before:] == expected
                ),
                "the will",
            )


@pytest.mark.paho("offline queueing")
@VERSIONS
@pytest.mark.mqtt("MQTT-3.1.2-4", "MQTT-3.1.2-5", "MQTT-3.1.2-23", "MQTT-3.2.2-3")
def test_a_session_that_stays_keeps_what_came_meanwhile_and_a_clean_one_does_not(
    broker: Gateway, name: str, version: int
) -> None:
    topic = f"devices/{name}/chat"
    with Device(broker.port, name, version, clean=False, expiry_s=60) as device:
        assert device.connects == [(False, 0)]
        device.subscribe(topic, 2)
    # Somebody else may not publish there, so the device's own will does: it goes out when a second connection drops.
    with Device(broker.port, name, version, clean=False, expiry_s=60, will=(topic, b"while away", 2, False)) as device:
        assert device.connects == [(True, 0)]
        device.drop()
    wait_until(lambda: broker.log().count(f"gone device={name} ") == 2, "the drop is noticed")
    with Device(broker.port, name, version, clean=False, expiry_s=60) as device:
        assert device.connects == [(True, 0)]
        assert device.message() == (topic, b"while away", 2, False)
    with Device(broker.port, name, version, clean=True) as device:
        assert device.connects == [(False, 0)]
        device.publish(topic, b"nobody listens", 1)
        assert device.messages.empty()


@pytest.mark.mqtt("MQTT-3.1.4-3")
def test_the_older_connection_is_told_that_it_was_taken_over_and_the_device_stays_online(
    broker: Gateway, name: str
) -> None:
    with Device(broker.port, name, V5) as older:
        with Device(broker.port, name, V5) as newer:
            wait_until(lambda: older.disconnects, "the older one's end")
            assert older.disconnects == [0x8E]
            assert newer.publish(f"devices/{name}/telemetry/x", b"x", 1) == 0
            assert {str(document["presence"]["state"]) for document in broker.documents(name)} == {"online"}
        wait_until(lambda: broker.presence(name)["state"] == "offline", "offline")
        assert broker.presence(name)["reason"] == "disconnected"


@pytest.mark.mqtt311("MQTT-3.3.5-2")
def test_what_is_not_allowed_is_refused_in_5_and_ends_the_connection_in_3_1_1(broker: Gateway, name: str) -> None:
    with Device(broker.port, name, V5) as device:
        assert device.publish("devices/somebody-else/telemetry/x", b"x", 1) == 0x87
        assert device.publish("devices/somebody-else/telemetry/x", b"x", 2) == UNKNOWN_TO_PUBREL
        assert device.publish(f"devices/{name}/telemetry/x", b"x", 2) == 0
        assert device.subscribe("devices/somebody-else/#") == 0x87
        assert device.disconnects == []
    with Wire(broker.port, name, version=5) as wire:
        wire.receive()
        wire.publish("devices/somebody-else/telemetry/x", b"x", 2, 9)
        assert wire.receive() == (PUBREC, b"\x00\x09\x87")
    with Device(broker.port, name, V311) as device:
        assert device.subscribe("devices/#") == 0x80
        device.client.publish("devices/somebody-else/telemetry/x", b"x", 1)
        wait_until(lambda: device.disconnects, "the end")
        assert device.published == {}
    assert "topic=devices/somebody-else/telemetry/x: not allowed to publish there" in broker.log()
    assert broker.messages().count(("somebody-else", b"x")) == 0


def test_properties_travel(broker: Gateway, name: str) -> None:
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "application/json"
    properties.ResponseTopic = f"devices/{name}/answers"
    properties.CorrelationData = b"\x00\x01"
    properties.UserProperty = [("traceparent", "00-1-2-01"), ("name", "välue")]
    topic = f"devices/{name}/telemetry/x"
    for retain in (False, True):
        with Device(broker.port, name, V5) as device:
            if not retain:
                device.subscribe(topic, 1)
            device.publish(topic, b"{}", 1, properties=properties, retain=retain)
            if retain:
                device.subscribe(topic, 1)
            got = device.messages.get(timeout=10)
            assert got.properties is not None
            assert (got.properties.ContentType, got.properties.CorrelationData) == ("application/json", b"\x00\x01")
            assert got.properties.UserProperty == [("traceparent", "00-1-2-01"), ("name", "välue")]


def test_user_properties_too_large_for_a_record_are_refused_and_nothing_else_is(broker: Gateway, name: str) -> None:
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("n", "v" * 60_000), ("m", "w" * 60_000)]
    topic = f"devices/{name}/telemetry/x"
    with Device(broker.port, name, V5) as device:
        assert device.publish(topic, b"{}", 1, properties=properties) == 0x97
        assert device.publish(topic, b"{}", 2, properties=properties) == UNKNOWN_TO_PUBREL
        assert device.publish(topic, b"{}", 2) == 0


def test_over_mutual_tls(broker: Gateway, name: str) -> None:
    certificate = str(broker.authority.pem), str(broker.authority.device(name))
    with Device(broker.tls_port, name, V5, certificate=certificate) as device:
        device.subscribe(f"devices/{name}/#", 1)
        large = bytes(300_000)
        assert device.publish(f"devices/{name}/telemetry/x", large, 2) == 0
        assert device.message()[1] == large


def mosquitto(program: str, gateway: Gateway, *arguments: str) -> list[str]:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    return [program, "-h", "127.0.0.1", "-p", str(gateway.port), *arguments]


MOSQUITTO = pytest.mark.parametrize("options", [("-V", v, "-q", q) for v in ("mqttv311", "mqttv5") for q in "012"])


@MOSQUITTO
def test_mosquitto_pub(broker: Gateway, name: str, options: tuple[str, ...]) -> None:
    topic = f"devices/{name}/telemetry/x"
    command = mosquitto("mosquitto_pub", broker, *options, "-i", name, "-t", topic, "-l")
    subprocess.run(command, input="1\n2\n3\n", text=True, check=True, timeout=20)
    wait_until(lambda: sum(1 for who, _ in broker.messages() if who == name) == 3, "all three")
    assert [payload for who, payload in broker.messages() if who == name] == [b"1", b"2", b"3"]


@MOSQUITTO
def test_mosquitto_sub(broker: Gateway, name: str, options: tuple[str, ...]) -> None:
    with Device(broker.port, name, V5) as device:
        device.publish(f"devices/{name}/chat", b"kept", 2, retain=True)
    command = mosquitto("mosquitto_sub", broker, *options, "-i", name, "-t", f"devices/{name}/#", "-C", "1", "-W", "10")
    done = subprocess.run([*command, "-F", "%t %p %q %r"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"devices/{name}/chat kept {options[-1]} 1\n")
