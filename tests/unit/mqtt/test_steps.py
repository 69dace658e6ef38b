"""The steps of QoS 0, 1 and 2, one by one, in both directions (MQTT5 §4.3, §4.4, §4.9)."""

from __future__ import annotations

import pytest

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.events import Event, Released
from bridge.mqtt.packets import Packet
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription
from tests.unit.mqtt.support import LIMITS, Link

ALL = Subscription("#", 2)


def connected(version: int, state: SessionState | None = None, limits: Mqtt = LIMITS) -> Link:
    link = Link(version, limits).connect(state)
    link.answers()
    return link


def repeated(link: Link) -> list[Packet]:
    """What is said again when the connection is lost and the client comes back."""
    link.session.close()
    return Link(link.version).connect(link.state).answers()[1:]


def one(events: list[Event]) -> Message:
    (event,) = events
    assert isinstance(event, Message)
    return event


# Towards a client.


@pytest.mark.mqtt("MQTT-2.2.1-2", "MQTT-2.2.2-1", "MQTT-3.3.1-3", "MQTT-4.3.1-1")
def test_a_message_of_qos_0_byte_by_byte(version: int) -> None:
    """No packet identifier, no DUP whatever its publisher's was, and in MQTT 5 a property length of 0."""
    link = connected(version)
    link.session.deliver(Message("t", b"x", 0, dup=True), ALL)
    length = "04" if version == 4 else "05"
    assert link.session.take_output().hex() == f"30{length}000174{'' if version == 4 else '00'}78"


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.mqtt("MQTT-3.3.1-3", "MQTT-4.3.2-2", "MQTT-4.3.3-2")
def test_the_first_time_is_without_dup(version: int, qos: int) -> None:
    link = connected(version)
    link.session.deliver(Message("t", b"x", qos, dup=True, packet_id=77), ALL)
    assert link.answers() == [Message("t", b"x", qos, dup=False, packet_id=1)]


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.mqtt("MQTT-4.3.2-3", "MQTT-4.3.3-3")
def test_it_is_said_again_until_it_was_acknowledged(version: int, qos: int) -> None:
    link = connected(version)
    link.session.deliver(Message("t", b"x", qos), ALL)
    link.answers()
    assert repeated(link) == [Message("t", b"x", qos, dup=True, packet_id=1)]
    link = connected(version, link.state)
    link.send(packets.Puback(1) if qos == 1 else packets.Pubrec(1))
    assert not any(isinstance(packet, Message) for packet in repeated(link))


@pytest.mark.mqtt("MQTT-4.3.3-4", "MQTT-4.3.3-5", "MQTT-4.3.3-6")
def test_a_release_follows_pubrec_and_is_said_again_until_pubcomp(version: int) -> None:
    link = connected(version)
    link.session.deliver(Message("t", b"x", 2), ALL)
    link.answers()
    link.send(packets.Pubrec(1))
    assert link.answers() == [packets.Pubrel(1)]
    assert repeated(link) == [packets.Pubrel(1)]
    link = connected(version, link.state)
    link.send(packets.Pubcomp(1))
    assert repeated(link) == []


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.mqtt("MQTT-4.4.0-2")
def test_what_was_refused_is_not_said_again(qos: int) -> None:
    link = connected(5)
    link.session.deliver(Message("t", b"x", qos), ALL)
    answer = packets.Puback if qos == 1 else packets.Pubrec
    link.answers()
    link.send(answer(1, Reason.NOT_AUTHORIZED))
    assert repeated(link) == []


@pytest.mark.mqtt("MQTT-3.3.4-10", "MQTT-4.9.0-3")
def test_a_full_window_holds_up_nothing_but_messages_of_qos_1_and_2(version: int) -> None:
    link = connected(version, limits=Mqtt(inflight_max=1))
    for payload in (b"1", b"2"):
        link.session.deliver(Message("t", payload, 1), ALL)
    link.answers()
    link.session.deliver(Message("t", b"0"), ALL)
    link.session.acknowledge(one(link.send(Message("a", b"", 1, packet_id=9))))
    link.session.subscribed(8, [0])
    link.send(packets.Pingreq())
    assert link.answers() == [Message("t", b"0"), packets.Puback(9), packets.Suback(8, (0,)), packets.Pingresp()]
    link.send(packets.Puback(1))
    assert link.answers() == [Message("t", b"2", 1, packet_id=2)]


# From a client.


@pytest.mark.parametrize("dup", [False, True])
@pytest.mark.mqtt("MQTT-4.3.2-5")
def test_after_puback_the_identifier_is_new(version: int, dup: bool) -> None:
    link = connected(version)
    for payload in (b"1", b"2"):
        message = one(link.send(Message("t", payload, 1, dup=dup, packet_id=3)))
        link.session.acknowledge(message)
        assert (message.payload, link.answers()) == (payload, [packets.Puback(3)])


@pytest.mark.parametrize("dup", [False, True])
@pytest.mark.mqtt("MQTT-4.3.3-12")
def test_after_pubcomp_the_identifier_is_new(version: int, dup: bool) -> None:
    link = connected(version)
    for payload in (b"1", b"2"):
        message = one(link.send(Message("t", payload, 2, dup=dup, packet_id=3)))
        assert message.payload == payload
        link.session.acknowledge(message)
        assert link.send(packets.Pubrel(3)) == [Released(3)]
        link.session.complete(3)
        assert link.answers() == [packets.Pubrec(3), packets.Pubcomp(3)]


@pytest.mark.mqtt("MQTT-4.3.3-13")
def test_an_exchange_ends_as_it_should_though_its_message_expired_meanwhile() -> None:
    link = connected(5)
    options: dict[int, object] = {Property.MESSAGE_EXPIRY_INTERVAL: 1}
    link.session.acknowledge(one(link.send(Message("t", b"x", 2, packet_id=3, properties=options))))
    link.now = 1000.0
    assert link.send(packets.Pubrel(3)) == [Released(3)]
    link.session.complete(3)
    assert link.answers() == [packets.Pubrec(3), packets.Pubcomp(3)]
