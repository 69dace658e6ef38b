"""What the server says first, what it refuses with and what it says last (MQTT5 §3.2, §3.4 to §3.11, §3.14, §4.13)."""

from __future__ import annotations

import pytest

from bridge.message import Message
from bridge.mqtt import packets, reasons
from bridge.mqtt.encode import encode
from bridge.mqtt.events import ConnectRequested, Disconnected
from bridge.mqtt.packets import Properties
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription
from tests.unit.mqtt.support import LIMITS, Link

LONG = "why it is so, " * 30


def with_room(size: int) -> Properties:
    """Of a client that takes no larger packets."""
    return {Property.MAXIMUM_PACKET_SIZE: size}


@pytest.mark.mqtt("MQTT-3.1.4-5", "MQTT-3.2.0-1", "MQTT-3.2.0-2")
def test_connack_comes_first_and_once(version: int) -> None:
    """Whatever waits for the client comes behind it."""
    state = SessionState("c", version, 60, LIMITS)
    state.enqueue(Message("t", b"waits", 1), Subscription("#", 1), 0.0)
    link = Link(version)
    link.send_bytes(encode(packets.Connect("c", False, version), version) + b"\xc0\x00")
    assert link.answers() == [], "not before the broker has said so"
    link.session.accept(state, present=True, now=0.0)
    link.send_bytes(b"")
    first, *rest = link.answers()
    assert isinstance(first, packets.Connack)
    assert (first.reason, first.session_present) == (0, True)
    assert [type(packet) for packet in rest] == [Message, packets.Pingresp]
    with pytest.raises(RuntimeError):
        link.session.accept(state, present=True, now=0.0)


@pytest.mark.parametrize("present", [False, True])
@pytest.mark.mqtt("MQTT-3.2.2-1", "MQTT-3.2.2-3")
def test_the_flags_of_connack_hold_nothing_but_session_present(version: int, present: bool) -> None:
    link = Link(version)
    link.send(packets.Connect("c", False, version))
    link.session.accept(SessionState("c", version, 60, LIMITS), present=present, now=0.0)
    assert link.session.take_output()[2:4] == bytes((present, 0))


@pytest.mark.mqtt("MQTT-3.1.4-6")
def test_what_came_behind_a_connect_that_is_refused_is_not_looked_at(version: int) -> None:
    link = Link(version)
    behind = encode(Message("t", b"x", 1, packet_id=1), version) + b"\xff\xff"
    (request,) = link.send_bytes(encode(packets.Connect("c", True, version), version) + behind)
    assert isinstance(request, ConnectRequested)
    link.session.refuse(Reason.NOT_AUTHORIZED)
    assert [type(packet) for packet in link.answers()] == [packets.Connack]
    assert link.send_bytes(b"") == link.send_bytes(behind) == []
    assert link.answers() == []


@pytest.mark.parametrize("room", [30, 1000])
@pytest.mark.mqtt("MQTT-3.2.2-19", "MQTT-3.2.2-20", "MQTT-3.1.2-24")
def test_a_refusal_keeps_to_what_the_client_takes(room: int) -> None:
    """The reason itself always fits; its text only where there is room for it."""
    link = Link(5)
    (request,) = link.send(packets.Connect("c", properties=with_room(room)))
    assert isinstance(request, ConnectRequested)
    link.session.refuse(Reason.NOT_AUTHORIZED, LONG)
    (said,) = link.answers()
    assert isinstance(said, packets.Connack)
    assert said.properties == ({Property.REASON_STRING: LONG} if room == 1000 else {})


@pytest.mark.parametrize(("room", "said"), [(5, True), (4, False)])
@pytest.mark.mqtt("MQTT-3.1.2-24")
def test_a_client_that_has_no_room_for_connack_is_not_let_in(room: int, said: bool) -> None:
    """Without our limits in it the client would take the standard's for ours; so it cannot be made smaller."""
    link = Link(5)
    (event,) = link.send(packets.Connect("c", properties=with_room(room)))
    assert isinstance(event, Disconnected)
    assert (event.reason, link.session.closed) == (Reason.PACKET_TOO_LARGE, True)
    assert link.session.take_output() == (b"\x20\x03\x00\x95\x00" if said else b"")


def test_an_id_to_be_assigned_needs_room_too() -> None:
    assert isinstance(Link(5).send(packets.Connect("", properties=with_room(30)))[0], Disconnected)
    assert isinstance(Link(5).send(packets.Connect("c", properties=with_room(30)))[0], ConnectRequested)


@pytest.mark.mqtt(
    "MQTT-3.4.2-1", "MQTT-3.4.2-2", "MQTT-3.4.2-3", "MQTT-3.5.2-1", "MQTT-3.5.2-2", "MQTT-3.5.2-3",
    "MQTT-3.6.2-1", "MQTT-3.6.2-2", "MQTT-3.6.2-3", "MQTT-3.7.2-1", "MQTT-3.7.2-2", "MQTT-3.7.2-3",
    "MQTT-3.9.2-1", "MQTT-3.9.2-2", "MQTT-3.9.3-2", "MQTT-3.11.2-1", "MQTT-3.11.2-2", "MQTT-3.11.3-2",
)  # fmt: skip
def test_answers_have_a_reason_of_their_table_and_no_properties_at_all() -> None:
    """So none of them is ever too large for its text."""
    link = Link(5).connect()
    link.answers()
    link.session.deliver(Message("t", b"", 2), Subscription("#", 2))
    for packet_id, qos in ((1, 1), (2, 2)):
        (message,) = link.send(Message("t", b"", qos, packet_id=packet_id))
        assert isinstance(message, Message)
        link.session.acknowledge(message, Reason.QUOTA_EXCEEDED)
    link.send(packets.Pubrec(7), packets.Pubrel(8))
    link.session.subscribed(3, [Reason.NOT_AUTHORIZED, 2])
    link.session.unsubscribed(4, [Reason.NO_SUBSCRIPTION_EXISTED])
    said = link.answers()[1:]
    assert said == [
        packets.Puback(1, 0x97), packets.Pubrec(2, 0x97), packets.Pubrel(7, 0x92), packets.Pubcomp(8, 0x92),
        packets.Suback(3, (0x87, 2)), packets.Unsuback(4, (0x11,)),
    ]  # fmt: skip
    assert {0x97} <= reasons.PUBLISH_ANSWER
    assert {0x92} <= reasons.RELEASE


@pytest.mark.mqtt("MQTT-3.14.0-1")
def test_before_connack_it_is_connack_that_says_good_bye() -> None:
    link = Link(5)
    link.send(packets.Connect("c"))
    link.session.disconnect(Reason.SERVER_SHUTTING_DOWN)
    (said,) = link.answers()
    assert isinstance(said, packets.Connack)
    assert (said.reason >= 0x80, said.session_present) == (True, False)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason in reasons.DISCONNECT and reason >= 0x80])
@pytest.mark.mqtt("MQTT-3.14.2-1", "MQTT-3.14.2-2", "MQTT-3.14.2-4", "MQTT-3.14.4-1", "MQTT-3.14.4-2", "MQTT-4.13.2-1")
def test_after_disconnect_comes_nothing_any_more(reason: Reason) -> None:
    """It holds a reason and no session expiry or user property; the connection is over, and nothing is sent on it."""
    link = Link(5).connect()
    link.answers()
    link.session.disconnect(reason)
    link.session.subscribed(1, [0])
    link.session.deliver(Message("t", b""), Subscription("#"))
    assert link.session.closed
    assert link.answers() == [packets.Disconnect(reason)]
    assert link.send(packets.Pingreq()) == []
