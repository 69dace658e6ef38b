"""What one side may ask of the other: response information, payload format, problem information, AUTH."""

from __future__ import annotations

import pytest

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.events import Disconnected
from bridge.mqtt.packets import Properties
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from tests.unit.mqtt.support import LIMITS, Link

STRICT = Mqtt(check_payload_format=True, receive_maximum=2)
UTF8: dict[int, object] = {Property.PAYLOAD_FORMAT_INDICATOR: 1}


@pytest.mark.parametrize(
    ("asked", "offered", "given"),
    [
        ({Property.REQUEST_RESPONSE_INFORMATION: 1}, "devices/{device}/answers", "devices/c/answers"),
        ({Property.REQUEST_RESPONSE_INFORMATION: 1}, None, None),
        ({Property.REQUEST_RESPONSE_INFORMATION: 0}, "devices/{device}/answers", None),
        ({}, "devices/{device}/answers", None),
    ],
)
def test_response_information(asked: Properties, offered: str | None, given: str | None) -> None:
    """[MQTT-3.1.2-28]: only who asks gets it."""
    link = Link(5, Mqtt(response_information=offered)).connect(properties=asked)
    (connack,) = link.answers()
    assert isinstance(connack, packets.Connack)
    assert connack.properties.get(Property.RESPONSE_INFORMATION) == given


def _strict(limits: Mqtt = STRICT) -> Link:
    link = Link(5, limits).connect()
    link.answers()
    return link


@pytest.mark.parametrize("qos", [1, 2])
def test_a_payload_that_is_not_what_it_is_called_is_refused_and_takes_no_room(qos: int) -> None:
    """(MQTT5 §3.3.2.3.2)."""
    link = _strict()
    kind = packets.Puback if qos == 1 else packets.Pubrec
    for _ in range(5):
        assert link.send(Message("t", b"\xff", qos, packet_id=7, properties=UTF8)) == []
        assert link.answers() == [kind(7, Reason.PAYLOAD_FORMAT_INVALID)]
    (taken,) = link.send(Message("t", "ü".encode(), qos, packet_id=7, properties=UTF8))
    assert isinstance(taken, Message)
    assert link.send(Message("t", b"\xff", qos, packet_id=8)) != [], "it is not called anything"


def test_at_qos_0_the_connection_ends() -> None:
    link = _strict()
    (event,) = link.send(Message("t", b"\xff", properties=UTF8))
    assert isinstance(event, Disconnected)
    assert event.reason == Reason.PAYLOAD_FORMAT_INVALID


def test_a_will_that_is_not_what_it_is_called_is_not_let_in() -> None:
    link = Link(5, STRICT)
    will = packets.Connect("c", True, 5, will=Message("t", b"\xff"), will_properties=UTF8)
    (event,) = link.send(will)
    assert isinstance(event, Disconnected)
    assert link.answers()[0].reason == Reason.PAYLOAD_FORMAT_INVALID  # type: ignore[union-attr]


def test_where_nobody_asked_for_the_check_it_is_passed_on() -> None:
    (message,) = _strict(LIMITS).send(Message("t", b"\xff", 1, packet_id=7, properties=UTF8))
    assert isinstance(message, Message)
    assert message.properties == UTF8


@pytest.mark.mqtt("MQTT-3.1.2-29")
def test_who_wants_no_problem_information_gets_no_reason_strings_but_at_the_end() -> None:
    """[MQTT-3.1.2-29]: DISCONNECT may have one, acknowledgements may not."""
    link = Link(5, STRICT).connect(properties={Property.REQUEST_PROBLEM_INFORMATION: 0})
    link.answers()
    link.send(Message("t", b"\xff", 1, packet_id=7, properties=UTF8), packets.Pubrel(9))
    assert link.answers() == [packets.Puback(7, Reason.PAYLOAD_FORMAT_INVALID), packets.Pubcomp(9, 0x92)]


def test_auth_without_a_method_is_a_protocol_error() -> None:
    """[MQTT-4.12.0-6]; a method in CONNECT is refused [MQTT-4.12.0-1]."""
    (event,) = _strict().send(packets.Auth(Reason.RE_AUTHENTICATE))
    assert isinstance(event, Disconnected)
    assert event.reason == Reason.PROTOCOL_ERROR
    link = Link(5)
    (refused,) = link.send(packets.Connect("c", True, 5, properties={Property.AUTHENTICATION_METHOD: "SCRAM"}))
    assert isinstance(refused, Disconnected)
    assert refused.reason == Reason.BAD_AUTHENTICATION_METHOD
