"""What MQTT 5 negotiates in CONNECT and CONNACK, byte by byte: aliases, windows, sizes, keep-alive, responses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop import properties as props
from tests.interop.gateway import Gateway
from tests.interop.properties import Properties
from tests.interop.wire import DISCONNECT, PINGRESP, PUBACK, PUBCOMP, PUBREC, PUBREL, Wire, packet, publish

PACKET_TOO_LARGE, ALIAS_INVALID, RECEIVE_MAXIMUM_EXCEEDED = 0x95, 0x94, 0x93


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A client id of the test's own."""
    return str(request.node.name).replace("[", "-").replace("]", "")[-40:]


@pytest.fixture
def talker(meeting: Gateway, name: str) -> Iterator[Wire]:
    """Somebody else, who publishes."""
    with Wire(meeting.port, f"{name}-talker", version=5) as wire:
        wire.connected()
        yield wire


def connect(meeting: Gateway, name: str, wanted: Properties | None = None, **options: int) -> Wire:
    return Wire(meeting.port, name, version=5, properties=wanted, **options)


def said(wire: Wire) -> int:
    """The reason of the DISCONNECT that must come next."""
    kind, body = wire.receive()
    assert kind == DISCONNECT
    return body[0]


@pytest.mark.paho("topic aliases")
@pytest.mark.mqtt("MQTT-3.3.2-9", "MQTT-3.3.2-12")
def test_aliases_of_a_client(meeting: Gateway, name: str, talker: Wire) -> None:
    assert talker.subscribe(f"open/{name}/+") == 0
    with connect(meeting, name) as wire:
        most = wire.connack().properties[props.TOPIC_ALIAS_MAXIMUM]
        assert most == 2
        for topic, alias, payload in (
            (f"open/{name}/a", 1, b"a"),
            (f"open/{name}/b", 2, b"b"),
            ("", 1, b"a again"),
            (f"open/{name}/c", 2, b"c"),
            ("", 2, b"c again"),
        ):
            wire.publish(topic, payload, 0, properties={props.TOPIC_ALIAS: alias})
        got = [talker.publication() for _ in range(5)]
        assert [(each.topic[-1], each.payload) for each in got] == [
            ("a", b"a"),
            ("b", b"b"),
            ("a", b"a again"),
            ("c", b"c"),
            ("c", b"c again"),
        ]
        assert not any(each.properties for each in got), "an alias is the affair of one connection"
        wire.publish(f"open/{name}/d", b"d", 0, properties={props.TOPIC_ALIAS: 3})
        assert said(wire) == ALIAS_INVALID


@pytest.mark.paho("topic aliases")
@pytest.mark.mqtt("MQTT-3.1.2-26", "MQTT-3.1.2-27", "MQTT-3.3.2-7")
def test_aliases_towards_a_client_as_many_as_it_takes_and_anew_on_each_connection(
    meeting: Gateway, name: str, talker: Wire
) -> None:
    for _ in range(2):
        with (
            connect(meeting, name, {props.TOPIC_ALIAS_MAXIMUM: 1}) as wire,
            connect(meeting, f"{name}-without") as without,
        ):
            wire.connected(), without.connected()
            assert [each.subscribe(f"open/{name}/+", 1) for each in (wire, without)] == [1, 1]
            for packet_id, end in enumerate("aaba", 1):
                talker.publish(f"open/{name}/{end}", b"x", 1, packet_id)
            assert talker.packet_ids(PUBACK, 4) == [1, 2, 3, 4]
            a, b = f"open/{name}/a", f"open/{name}/b"
            with_alias = [wire.publication() for _ in range(4)]
            assert [each.topic for each in with_alias] == [a, "", b, ""]
            assert [each.properties.get(props.TOPIC_ALIAS, 0) for each in with_alias] == [1, 1, 0, 1]
            plain = [without.publication() for _ in range(4)]
            assert [(each.topic, each.properties) for each in plain] == [(a, {}), (a, {}), (b, {}), (a, {})]


@pytest.mark.paho("flow control")
@pytest.mark.mqtt("MQTT-3.3.4-9")
@pytest.mark.parametrize("qos", [1, 2])
def test_no_more_is_on_its_way_to_a_client_than_it_takes(meeting: Gateway, name: str, talker: Wire, qos: int) -> None:
    with connect(meeting, name, {props.RECEIVE_MAXIMUM: 2}) as wire:
        wire.connected()
        assert wire.subscribe(f"open/{name}", 2) == 2
        for number in range(5):
            talker.publish(f"open/{name}", b"%d" % number, qos, number + 1)
        assert len(talker.packet_ids(PUBACK if qos == 1 else PUBREC, 5)) == 5
        waiting = [wire.publication(), wire.publication()]
        assert wire.silent(0.3)
        for number in range(5):
            first = waiting.pop(0)
            assert first.payload == b"%d" % number
            identifier = first.packet_id.to_bytes(2, "big")
            if qos == 2:
                wire.send(packet(PUBREC, identifier))
                assert wire.receive() == (PUBREL, identifier)
            wire.send(packet(PUBACK if qos == 1 else PUBCOMP, identifier))
            if number < 3:
                waiting.append(wire.publication())
        assert wire.silent(0.1)


@pytest.mark.paho("flow control")
@pytest.mark.mqtt("MQTT-3.3.4-7", "MQTT-3.3.4-8")
def test_who_sends_more_than_the_gateway_takes_is_told_so(meeting: Gateway, name: str) -> None:
    with connect(meeting, name) as wire:
        most = wire.connack().properties[props.RECEIVE_MAXIMUM]
        assert most == 8
        wire.send(b"".join(publish(f"open/{name}", b"x", 2, n, version=5) for n in range(1, 9)))
        assert wire.packet_ids(PUBREC, 8) == list(range(1, 9))
        wire.publish(f"open/{name}", b"one too many", 2, 9)
        assert said(wire) == RECEIVE_MAXIMUM_EXCEEDED


@pytest.mark.paho("server keep-alive")
@pytest.mark.mqtt("MQTT-3.2.2-22")
@pytest.mark.parametrize(("asked", "told"), [(0, 300), (301, 300), (300, None), (10, None)])
def test_the_server_tells_its_own_keep_alive(meeting: Gateway, name: str, asked: int, told: int | None) -> None:
    with connect(meeting, name, keepalive_s=asked) as wire:
        assert wire.connack().properties.get(props.SERVER_KEEP_ALIVE) == told


@pytest.mark.paho("request and response")
@pytest.mark.mqtt("MQTT-3.1.2-28", "MQTT-3.3.2-15", "MQTT-3.3.2-16")
def test_request_and_response(meeting: Gateway, name: str, talker: Wire) -> None:
    for unasked in ({}, {props.REQUEST_RESPONSE_INFORMATION: 0}):
        with connect(meeting, name, unasked) as wire:
            assert props.RESPONSE_INFORMATION not in wire.connack().properties
    assert talker.subscribe(f"open/{name}/service", 1) == 1
    with connect(meeting, name, {props.REQUEST_RESPONSE_INFORMATION: 1}) as wire:
        place = wire.connack().properties[props.RESPONSE_INFORMATION]
        assert place == f"open/answers/{name}"
        assert wire.subscribe(f"{place}/#", 1) == 1
        asking: Properties = {props.RESPONSE_TOPIC: f"{place}/1", props.CORRELATION: b"\0which"}
        wire.publish(f"open/{name}/service", b"how warm?", 1, properties=asking)
        request = talker.publication()
        assert request.properties == asking
        answer_to, correlation = request.properties[props.RESPONSE_TOPIC], request.properties[props.CORRELATION]
        talker.publish(str(answer_to), b"21.5", 1, 2, properties={props.CORRELATION: correlation})
        assert wire.packet_ids(PUBACK, 1) == [1]
        answer = wire.publication()
        assert (answer.payload, answer.properties) == (b"21.5", {props.CORRELATION: b"\0which"})


@pytest.mark.paho("maximum packet size")
@pytest.mark.mqtt("MQTT-3.1.2-24", "MQTT-3.1.2-25")
@pytest.mark.parametrize("qos", [0, 1])
def test_what_is_too_large_for_a_client_is_not_sent_and_holds_nothing_up(
    meeting: Gateway, name: str, talker: Wire, qos: int
) -> None:
    overhead = len(publish(f"open/{name}", b"", qos, version=5))
    with connect(meeting, name, {props.MAXIMUM_PACKET_SIZE: 100}) as wire:
        wire.connected()
        assert wire.subscribe(f"open/{name}", qos) == qos
        for number, length in enumerate((101 - overhead, 100 - overhead, 10), 1):
            talker.publish(f"open/{name}", bytes(length), qos, number)
        assert [len(wire.publication().payload) for _ in range(2)] == [100 - overhead, 10]


@pytest.mark.paho("maximum packet size")
@pytest.mark.mqtt("MQTT-3.2.2-15")
def test_what_is_too_large_for_the_gateway_ends_the_connection(meeting: Gateway, name: str) -> None:
    overhead = len(publish(f"open/{name}", bytes(2000), 0, version=5)) - 2000
    with connect(meeting, name) as wire:
        assert wire.connack().properties[props.MAXIMUM_PACKET_SIZE] == 2048
        wire.publish(f"open/{name}", bytes(2048 - overhead), 0)
        wire.send(packet(0xC0))
        assert wire.receive()[0] == 0xD0
        wire.publish(f"open/{name}", bytes(2049 - overhead), 0)
        assert said(wire) == PACKET_TOO_LARGE


@pytest.mark.parametrize(("handling", "at_first", "again"), [(0, True, True), (1, True, False), (2, False, False)])
@pytest.mark.mqtt("MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11")
def test_retain_handling(meeting: Gateway, name: str, talker: Wire, handling: int, at_first: bool, again: bool) -> None:
    topic = f"open/{name}"
    kept = publish(topic, b"kept", 1, 1, version=5)
    talker.send(bytes((kept[0] | 1,)) + kept[1:])
    assert talker.packet_ids(PUBACK, 1) == [1]
    with connect(meeting, name) as wire:
        wire.connected()
        for expected in (at_first, again):
            assert wire.subscribe(topic, 1 | handling << 4) == 1
            if expected:
                assert wire.publication().payload == b"kept"
            wire.send(packet(0xC0))
            assert wire.receive()[0] == PINGRESP
