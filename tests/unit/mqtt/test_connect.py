"""CONNECT and CONNACK, keep-alive, and the ways a connection ends (MQTT5 §3.1, §3.2, §3.14)."""

from __future__ import annotations

import math

import pytest

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.encode import encode
from bridge.mqtt.events import ConnectRequested, Disconnected, Will
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason, describe
from bridge.mqtt.session import Session
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription
from tests.unit.mqtt.support import LIMITS, Link


def _request(link: Link, connect: packets.Connect) -> ConnectRequested:
    (request,) = link.send(connect)
    assert isinstance(request, ConnectRequested)
    return request


def _connack(link: Link) -> packets.Connack:
    (answer,) = link.answers()
    assert isinstance(answer, packets.Connack)
    return answer


def test_the_request_says_what_the_client_wants() -> None:
    will = Message("gone", b"bye", 1, True)
    connect = packets.Connect(
        "c", False, 5, 30, will, {Property.WILL_DELAY_INTERVAL: 9, Property.CONTENT_TYPE: "t"}, "u", b"p",
        {Property.SESSION_EXPIRY_INTERVAL: 60, Property.USER_PROPERTY: [("a", "b")]},
    )  # fmt: skip
    request = _request(Link(5), connect)
    expected = Will(Message("gone", b"bye", 1, True, properties={Property.CONTENT_TYPE: "t"}), delay_s=9)
    assert request == ConnectRequested("c", False, 5, 30, 60, expected, "u", b"p", connect.properties)


def test_connack_says_what_the_server_offers() -> None:
    limits = Mqtt(receive_maximum=7, max_packet_size=999, topic_alias_maximum=3)
    answer = _connack(Link(5, limits).connect(keepalive_s=10))
    assert answer == packets.Connack(
        0,
        False,
        {
            Property.RECEIVE_MAXIMUM: 7,
            Property.MAXIMUM_PACKET_SIZE: 999,
            Property.TOPIC_ALIAS_MAXIMUM: 3,
            Property.SHARED_SUBSCRIPTION_AVAILABLE: 1,
        },
    )


@pytest.mark.mqtt("MQTT-3.1.3-10", "MQTT-3.3.2-4", "MQTT-3.3.2-18")
@pytest.mark.parametrize("indicator", [0, 1])
def test_the_properties_of_a_will_reach_its_readers_as_they_were_and_in_their_order(indicator: int) -> None:
    pairs = [("b", "1"), ("a", "2"), ("b", "3")]
    options: dict[int, object] = {Property.USER_PROPERTY: pairs, Property.PAYLOAD_FORMAT_INDICATOR: indicator}
    will = _request(Link(5), packets.Connect("c", will=Message("t", b"gone"), will_properties=options)).will
    assert will is not None
    reader = Link(5).connect()
    reader.answers()
    reader.session.deliver(will.message, Subscription("#"))
    (came,) = reader.answers()
    assert isinstance(came, Message)
    assert came.properties == options


@pytest.mark.mqtt("MQTT-3.2.2-21")
def test_what_is_not_granted_as_asked_is_said() -> None:
    """Server Keep Alive [MQTT-3.2.2-21] and Session Expiry Interval (3.2.2.3.2)."""
    limits = Mqtt(keepalive_max_s=100, session_expiry_max_s=200)
    link = Link(5, limits)
    request = _request(link, packets.Connect("c", keepalive_s=0, properties={Property.SESSION_EXPIRY_INTERVAL: 201}))
    assert (request.keepalive_s, request.expiry_s) == (100, 200)
    link.session.accept(SessionState("c", 5, 200, limits), present=False, now=0.0)
    offered = _connack(link).properties
    assert (offered[Property.SERVER_KEEP_ALIVE], offered[Property.SESSION_EXPIRY_INTERVAL]) == (100, 200)


@pytest.mark.parametrize(("clean", "expiry_s"), [(True, 0), (False, LIMITS.session_expiry_max_s)])
def test_clean_session_of_3_1_1_is_an_expiry(clean: bool, expiry_s: int) -> None:
    request = _request(Link(4), packets.Connect("c", clean, 4))
    assert (request.clean_start, request.expiry_s) == (clean, expiry_s)


def test_a_client_of_3_1_is_served() -> None:
    link = Link(3)
    request = _request(link, packets.Connect("old", True, 3))
    link.session.accept(SessionState("old", 3, 0, LIMITS), present=True, now=0.0)
    assert request.version == 3
    assert link.session.take_output() == bytes.fromhex("20020000"), "3.1 has no session present flag"


@pytest.mark.mqtt("MQTT-3.2.2-3")
def test_session_present_is_told(version: int) -> None:
    link = Link(version).connect(SessionState("c", version, 60, LIMITS))
    assert _connack(link).session_present


@pytest.mark.mqtt("MQTT-3.1.3-6", "MQTT-3.1.3-7", "MQTT-3.2.2-16")
def test_an_assigned_client_id_is_told() -> None:
    """[MQTT-3.2.2-16]."""
    link = Link(5)
    assert _request(link, packets.Connect("")).client_id == ""
    state = SessionState("made-up", 5, 0, LIMITS)
    link.session.accept(state, present=False, now=0.0, assigned_client_id=True)
    assert _connack(link).properties[Property.ASSIGNED_CLIENT_IDENTIFIER] == "made-up"
    assert (link.session.client_id, link.session.state) == ("made-up", state)


@pytest.mark.parametrize(
    ("version", "reason", "said"),
    [
        (5, Reason.NOT_AUTHORIZED, "20 0b 00 87 08 1f 0005 6e6f206e6f"),
        (5, Reason.SESSION_TAKEN_OVER, "20 0b 00 80 08 1f 0005 6e6f206e6f"),  # not one of CONNACK's
        (4, Reason.NOT_AUTHORIZED, "20 02 00 05"),
        (4, Reason.BAD_USER_NAME_OR_PASSWORD, "20 02 00 04"),
        (4, Reason.SERVER_BUSY, "20 02 00 03"),
        (4, Reason.MALFORMED_PACKET, ""),
    ],
)
@pytest.mark.mqtt("MQTT-3.1.3-8", "MQTT-3.1.4-2", "MQTT-3.2.2-6", "MQTT-3.2.2-7", "MQTT-3.2.2-8")
def test_refuse(version: int, reason: Reason, said: str) -> None:
    """A reason without a return code in 3.1.1 closes without CONNACK [MQTT-3.2.2-6]."""
    link = Link(version)
    _request(link, packets.Connect("c", version=version))
    link.session.refuse(reason, "no no")
    assert link.session.take_output() == bytes.fromhex(said)
    assert link.session.closed


def test_what_follows_connect_waits_for_its_answer(version: int) -> None:
    """A client need not wait for CONNACK (3.1.4)."""
    link = Link(version)
    publish = encode(Message("a", b"x", 1, packet_id=3), version)
    connect = encode(packets.Connect("c", version=version), version)
    (request,) = link.send_bytes(connect + publish + publish[:4])
    assert isinstance(request, ConnectRequested)
    assert link.send_bytes(publish[4:]) == []
    link.session.accept(SessionState("c", version, 0, LIMITS), present=False, now=0.0)
    assert [type(event) for event in link.send_bytes(b"")] == [Message, Message]


def test_what_waits_for_connack_is_bounded(version: int) -> None:
    link = Link(version, Mqtt(max_packet_size=1000))
    _request(link, packets.Connect("c", version=version))
    assert link.send_bytes(bytes(900)) == []
    (event,) = link.send_bytes(bytes(900))
    assert isinstance(event, Disconnected)
    assert event.reason == Reason.QUOTA_EXCEEDED


def test_a_connect_has_a_bound_of_its_own(version: int) -> None:
    """Before it is known who it is; afterwards packets may be larger."""
    limits = Mqtt(connect_max_bytes=200)
    (event,) = Link(version, limits).send_bytes(b"\x10\xff\x01")  # 255 bytes are to come
    assert isinstance(event, Disconnected)
    assert event.reason == Reason.PACKET_TOO_LARGE
    link = Link(version, limits).connect()
    (message,) = link.send(Message("a", bytes(1000)))
    assert isinstance(message, Message)


@pytest.mark.mqtt("MQTT-3.1.2-22")
def test_a_client_is_late_after_one_and_a_half_keep_alives(version: int) -> None:
    """[MQTT-3.1.2-22]; only whole packets count."""
    link = Link(version)
    link.now = 100.0
    link.connect(keepalive_s=10)
    assert link.session.deadline == 115.0
    link.now = 114.0
    link.send_bytes(b"\x30")
    assert (link.session.expired(115.0), link.session.expired(115.1)) == (False, True)
    link.send_bytes(b"\x03\x00\x01a" if version == 4 else b"\x04\x00\x01a\x00")
    assert link.session.deadline == 129.0


def test_without_keep_alive_there_is_no_deadline() -> None:
    assert Link(4).connect().session.deadline == math.inf
    assert Session(LIMITS).deadline == math.inf


@pytest.mark.mqtt("MQTT-3.12.4-1")
def test_a_ping_is_answered(version: int) -> None:
    """[MQTT-3.12.4-1]."""
    link = Link(version).connect()
    link.answers()
    assert link.send(packets.Pingreq(), packets.Pingreq()) == []
    assert link.answers() == [packets.Pingresp(), packets.Pingresp()]


@pytest.mark.parametrize(
    ("reason", "will"), [(Reason.NORMAL_DISCONNECTION, False), (Reason.DISCONNECT_WITH_WILL_MESSAGE, True)]
)
@pytest.mark.mqtt("MQTT-3.14.4-1", "MQTT-3.14.4-3")
def test_disconnect_keeps_or_discards_the_will(reason: Reason, will: bool) -> None:
    """[MQTT-3.14.4-3]; nothing after DISCONNECT counts [MQTT-3.14.4-1]."""
    link = Link(5).connect()
    events = link.send(packets.Disconnect(reason), packets.Pingreq())
    assert events == [Disconnected(reason, will)]
    assert link.session.closed


@pytest.mark.mqtt311("MQTT-3.14.4-3")
def test_disconnect_of_3_1_1_discards_the_will() -> None:
    link = Link(4).connect()
    assert link.send(packets.Disconnect()) == [Disconnected(0, False)]


def test_disconnect_may_change_the_expiry() -> None:
    """(3.14.2.2.2), within our maximum."""
    link = Link(5).connect(properties={Property.SESSION_EXPIRY_INTERVAL: 60})
    state = link.state
    link.send(packets.Disconnect(0, {Property.SESSION_EXPIRY_INTERVAL: 0xFFFF_FFFF}))
    assert state.expiry_s == LIMITS.session_expiry_max_s


def test_the_server_disconnects(version: int) -> None:
    link = Link(version).connect()
    link.answers()
    link.session.disconnect(Reason.SESSION_TAKEN_OVER, "elsewhere")
    expected = packets.Disconnect(Reason.SESSION_TAKEN_OVER, {Property.REASON_STRING: "elsewhere"})
    assert link.answers() == ([expected] if version == 5 else [])
    assert link.session.closed


@pytest.mark.mqtt("MQTT-3.14.2-3")
def test_a_reason_string_gives_way_to_the_clients_packet_size() -> None:
    """[MQTT-3.14.2-3]."""
    link = Link(5).connect(properties={Property.MAXIMUM_PACKET_SIZE: 40})
    link.answers()
    link.session.disconnect(Reason.SERVER_BUSY, "x" * 50)
    assert link.answers() == [packets.Disconnect(Reason.SERVER_BUSY)]


def test_the_brokers_mistakes_are_its_own() -> None:
    session = Session(LIMITS)
    with pytest.raises(RuntimeError):
        session.accept(SessionState("c", 5, 0, LIMITS), present=False, now=0.0)
    session.close()
    session.accept(SessionState("c", 5, 0, LIMITS), present=False, now=0.0)
    assert session.take_output() == b""


def test_reasons_in_words() -> None:
    assert describe(0x93) == "receive maximum exceeded"
    assert describe(0x77) == "0x77"


@pytest.mark.parametrize("again", ["6a 02 0001", "8a 06 0001 0001 61 00", "aa 05 0001 0001 61", "c8 00", "ef 00"])
def test_flags_that_3_1_does_not_forbid_are_no_mistake(again: str) -> None:
    """A client of 3.1 repeats PUBREL and its requests with DUP; MQIsdp with a stray connect flag is let in too."""
    link = Link(3)
    (request,) = link.send_bytes(bytes.fromhex("14 0f 0006 4d5149736470 03 03 000a 0001 63"))
    assert isinstance(request, ConnectRequested)
    link.session.accept(SessionState("c", 3, 0, LIMITS), present=False, now=0.0)
    assert not any(
        isinstance(each, Disconnected) and not each.by_client for each in link.send_bytes(bytes.fromhex(again))
    )
