"""Bad packets, one a line, each with the clause it breaks and the reason it must be answered with."""

from __future__ import annotations

import pytest

from bridge.config import Mqtt
from bridge.mqtt import packets
from bridge.mqtt.events import Disconnected
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session import Session
from tests.unit.mqtt.support import Link

MALFORMED, PROTOCOL = Reason.MALFORMED_PACKET, Reason.PROTOCOL_ERROR

BOTH = [
    ("00 00", MALFORMED, "packet type 0 is reserved (2.1.2)"),
    ("0a c0", MALFORMED, "packet type 0 is reserved, whatever would follow (2.1.2)"),
    ("00 05 00", MALFORMED, "packet type 0 is reserved, whatever would follow (2.1.2)"),
    ("36 05 0001 61 0001", MALFORMED, "QoS 3 [MQTT-3.3.1-4]"),
    ("38 04 0001 61 00", MALFORMED, "DUP at QoS 0 [MQTT-3.3.1-2]"),
    ("30 02 0005", MALFORMED, "a topic longer than the packet"),
    ("30 01 00", MALFORMED, "half a length"),
    ("30 05 0003 61ff62", MALFORMED, "not UTF-8 [MQTT-1.5.4-1]"),
    ("30 05 0003 eda080", MALFORMED, "a surrogate [MQTT-1.5.4-1]"),
    ("30 05 0003 610062", MALFORMED, "U+0000 [MQTT-1.5.4-2]"),
    ("32 06 0001 61 0000 00", PROTOCOL, "packet id 0 [MQTT-2.2.1-3]"),
    ("34 06 0001 61 0000 00", PROTOCOL, "packet id 0 [MQTT-2.2.1-3]"),
    ("32 04 0001 61 00", MALFORMED, "half a packet id"),
    ("30 06 0003 612f23 00", Reason.TOPIC_NAME_INVALID, "# in a name [MQTT-3.3.2-2]"),
    ("30 06 0003 2b2f61 00", Reason.TOPIC_NAME_INVALID, "+ in a name [MQTT-3.3.2-2]"),
    ("41 02 0001", MALFORMED, "flags of PUBACK [MQTT-2.1.3-1]"),
    ("40 02 0000", PROTOCOL, "packet id 0 [MQTT-2.2.1-3]"),
    ("40 01 00", MALFORMED, "half a packet id"),
    ("60 02 0001", MALFORMED, "flags of PUBREL [MQTT-3.6.1-1]"),
    ("80 06 0001 0001 61 00", MALFORMED, "flags of SUBSCRIBE [MQTT-3.8.1-1]"),
    ("a0 05 0001 0001 61", MALFORMED, "flags of UNSUBSCRIBE [MQTT-3.10.1-1]"),
    ("c0 01 00", MALFORMED, "PINGREQ has no content (3.12)"),
    ("c1 00", MALFORMED, "flags of PINGREQ [MQTT-2.1.3-1]"),
    ("e1 00", MALFORMED, "flags of DISCONNECT [MQTT-3.14.1-1]"),
    ("d0 00", PROTOCOL, "PINGRESP from a client"),
    ("90 00", PROTOCOL, "SUBACK from a client, whatever is in it"),
    ("b1 00", PROTOCOL, "UNSUBACK from a client, whatever is in it"),
    ("30 ff ff ff ff 01", MALFORMED, "five bytes of remaining length (2.1.4)"),
    ("10 0d 0004 4d515454 05 02 0000 00 0000", PROTOCOL, "a second CONNECT [MQTT-3.1.0-2]"),
    ("10 0d 0004 4d515454 06 02 0000 00 0000", PROTOCOL, "one of level 6, which is no reason of DISCONNECT (3.14.2.1)"),
]
ONLY_5 = [
    ("30 84 00 0001 61 00", MALFORMED, "a remaining length longer than needed [MQTT-1.5.5-1]"),
    ("30 03 0000 00", PROTOCOL, "neither topic nor alias (3.3.2.1)"),
    ("30 06 0000 03 23 0001", PROTOCOL, "an alias that was never set (3.3.2.3.4)"),
    ("30 07 0001 61 03 23 0000", Reason.TOPIC_ALIAS_INVALID, "alias 0 [MQTT-3.3.2-8]"),
    ("30 07 0001 61 03 23 0011", Reason.TOPIC_ALIAS_INVALID, "an alias over the maximum [MQTT-3.3.2-9]"),
    ("30 06 0001 61 02 01 02", PROTOCOL, "payload format 2 (3.3.2.3.2)"),
    ("30 08 0001 61 04 01 00 01 00", PROTOCOL, "payload format twice (3.3.2.3.2)"),
    ("30 06 0001 61 02 0b 01", PROTOCOL, "a subscription identifier from a client [MQTT-3.3.4-6]"),
    ("30 06 0001 61 02 24 00", MALFORMED, "a property of CONNACK (2.2.2.2)"),
    ("30 06 0001 61 02 7f 00", MALFORMED, "an unknown property (2.2.2.2)"),
    ("30 08 0001 61 04 08 0001 2b", PROTOCOL, "a wildcard in the response topic [MQTT-3.3.2-14]"),
    ("30 05 0001 61 05 01", MALFORMED, "properties longer than the packet (2.2.2.1)"),
    ("30 06 0001 61 02 02 00", MALFORMED, "a property longer than the properties (2.2.2.1)"),
    ("30 05 0001 61 80 00", MALFORMED, "a property length longer than needed [MQTT-1.5.5-1]"),
    ("30 08 0001 61 80 80 80 80 01", MALFORMED, "a property length of five bytes (1.5.5)"),
    ("40 03 0001 ff", PROTOCOL, "a reason that is none [MQTT-3.4.2-1]"),
    ("40 03 0001 92", PROTOCOL, "a reason of PUBREL in PUBACK [MQTT-3.4.2-1]"),
    ("62 05 0001 00 00 00", MALFORMED, "bytes behind the properties"),
    ("82 03 0001 00", PROTOCOL, "SUBSCRIBE without a filter [MQTT-3.8.3-2]"),
    ("82 07 0001 00 0001 61 03", PROTOCOL, "a subscription with QoS 3 (3.8.3.1)"),
    ("82 07 0001 00 0001 61 30", PROTOCOL, "retain handling 3 (3.8.3.1)"),
    ("82 07 0001 00 0001 61 40", MALFORMED, "reserved bits of the options [MQTT-3.8.3-5]"),
    ("20 03 0000 00", PROTOCOL, "CONNACK from a client"),
    ("82 07 0001 00 0009 2473", MALFORMED, "a filter cut short"),
    ("82 10 0001 00 000a 2473686172652f672f61 04", PROTOCOL, "no local on a shared one [MQTT-3.8.3-4]"),
    ("82 09 0001 02 0b00 0001 61 00", PROTOCOL, "subscription identifier 0 (3.8.2.1.2)"),
    ("82 0b 0001 04 0b01 0b02 0001 61 00", PROTOCOL, "two subscription identifiers (3.8.2.1.2)"),
    ("82 0a 0001 00 0004 612f2362 00", Reason.TOPIC_FILTER_INVALID, "# not alone [MQTT-4.7.1-1]"),
    ("82 06 0001 00 0000 00", Reason.TOPIC_FILTER_INVALID, "an empty filter [MQTT-4.7.3-1]"),
    ("82 07 0000 00 0001 61 00", PROTOCOL, "packet id 0 [MQTT-2.2.1-3]"),
    ("a2 03 0001 00", PROTOCOL, "UNSUBSCRIBE without a filter [MQTT-3.10.3-2]"),
    ("e0 01 8b", PROTOCOL, "a server's reason from a client (3.14.2.1)"),
    ("e0 01 05", PROTOCOL, "a reason that is none [MQTT-3.14.2-1]"),
    ("e0 07 00 05 11 00000001", PROTOCOL, "an expiry for a session that had none (3.14.2.2.2)"),
    ("f0 00", PROTOCOL, "AUTH without a method [MQTT-4.12.0-6]"),
    ("f1 00", MALFORMED, "flags of AUTH [MQTT-3.15.1-1]"),
    ("62 02 0007", None, "PUBREL of an unknown id is answered, not punished (4.3.3)"),
]
ONLY_4 = [
    ("20 02 0000", PROTOCOL, "CONNACK from a client"),
    ("30 02 0000", Reason.TOPIC_NAME_INVALID, "an empty name [MQTT-4.7.3-1]"),
    ("40 03 0001 00", MALFORMED, "3.1.1 has no reasons"),
    ("82 02 0001", PROTOCOL, "SUBSCRIBE without a filter [MQTT-3.8.3-3]"),
    ("82 06 0001 0001 61 03", PROTOCOL, "QoS 3 [MQTT-3-8.3-4]"),
    ("82 06 0001 0001 61 04", MALFORMED, "reserved bits [MQTT-3-8.3-4]"),
    ("a2 02 0001", PROTOCOL, "UNSUBSCRIBE without a filter [MQTT-3.10.3-2]"),
    ("e0 01 00", MALFORMED, "DISCONNECT has no content (3.14)"),
    ("f0 00", MALFORMED, "packet type 15 is reserved (2.2.1)"),
]
_ROWS = ((4, BOTH), (5, BOTH), (5, ONLY_5), (4, ONLY_4))


@pytest.mark.parametrize(("version", "row"), [(version, row) for version, rows in _ROWS for row in rows])
@pytest.mark.mqtt(
    "MQTT-1.5.4-1",
    "MQTT-1.5.4-2",
    "MQTT-1.5.5-1",
    "MQTT-2.1.3-1",
    "MQTT-2.2.1-3",
    "MQTT-3.1.0-2",
    "MQTT-3.3.1-2",
    "MQTT-3.3.1-4",
    "MQTT-3.3.2-2",
    "MQTT-3.3.2-8",
    "MQTT-3.3.2-9",
    "MQTT-3.3.2-14",
    "MQTT-3.3.4-6",
    "MQTT-3.4.2-1",
    "MQTT-3.6.1-1",
    "MQTT-3.8.1-1",
    "MQTT-3.8.3-2",
    "MQTT-3.8.3-4",
    "MQTT-3.8.3-5",
    "MQTT-3.10.1-1",
    "MQTT-3.10.3-2",
    "MQTT-3.14.1-1",
    "MQTT-3.14.2-1",
    "MQTT-3.15.1-1",
    "MQTT-4.7.1-1",
    "MQTT-4.7.3-1",
    "MQTT-4.12.0-6",
    "MQTT-4.13.1-1",
)
def test_a_bad_packet_ends_its_connection(version: int, row: tuple[str, Reason | None, str]) -> None:
    data, reason, clause = row
    link = Link(version).connect()
    link.answers()
    events = link.send_bytes(bytes.fromhex(data))
    if reason is None:
        assert not link.session.closed, clause
        return
    (event,) = events
    assert isinstance(event, Disconnected)
    assert (event.reason, event.will, event.by_client) == (reason, True, False), (clause, event.text)
    assert link.session.closed
    said = link.answers()
    assert [type(packet) for packet in said] == ([packets.Disconnect] if version == 5 else [])
    assert all(isinstance(packet, packets.Disconnect) and packet.reason == reason for packet in said)
    assert link.send(packets.Pingreq()) == []
    assert link.answers() == []


CONNECTS = [
    ("10 0d 0004 4d515454 05 03 0000 00 0000", 5, MALFORMED, "the reserved flag [MQTT-3.1.2-3]"),
    ("10 13 0004 4d515454 05 1e 0000 00 0000 00 0001 74 0000", 5, MALFORMED, "will QoS 3 [MQTT-3.1.2-12]"),
    ("10 0d 0004 4d515454 05 0a 0000 00 0000", 5, MALFORMED, "will QoS without a will [MQTT-3.1.2-11]"),
    ("10 0d 0004 4d515454 05 22 0000 00 0000", 5, MALFORMED, "will retain without a will [MQTT-3.1.2-13]"),
    ("10 10 0004 4d515454 05 02 0000 03 210000 0000", 5, PROTOCOL, "receive maximum 0 (3.1.2.11.3)"),
    ("10 12 0004 4d515454 05 02 0000 05 2700000000 0000", 5, PROTOCOL, "maximum packet size 0 (3.1.2.11.4)"),
    ("10 0f 0004 4d515454 05 02 0000 02 1702 0000", 5, PROTOCOL, "request problem information 2 (3.1.2.11.7)"),
    ("10 11 0004 4d515454 05 02 0000 04 16000178 0000", 5, PROTOCOL, "authentication data alone (3.1.2.11.10)"),
    ("10 11 0004 4d515454 05 02 0000 04 15000178 0000", 5, Reason.BAD_AUTHENTICATION_METHOD, "[MQTT-4.12.0-1]"),
    ("10 0e 0004 4d515454 05 02 0000 00 0000 00", 5, MALFORMED, "bytes behind the payload"),
    ("10 0c 0004 4d515454 05 02 0000 00 00", 5, MALFORMED, "cut short"),
    ("10 0d 0004 4d515454 06 02 0000 00 0000", 5, Reason.UNSUPPORTED_PROTOCOL_VERSION, "level 6 [MQTT-3.1.2-2]"),
    ("10 0c 0004 4d515454 84 02 0000 0000", 4, Reason.UNSUPPORTED_PROTOCOL_VERSION, "a private bridge [MQTT-3.1.2-2]"),
    ("10 0c 0004 4d515454 02 02 0000 0000", 4, Reason.UNSUPPORTED_PROTOCOL_VERSION, "level 2 [MQTT-3.1.2-2]"),
    ("10 0c 0004 4d515454 04 00 0000 0000", 4, Reason.CLIENT_IDENTIFIER_NOT_VALID, "no id, lasting [MQTT-3.1.3-8]"),
    ("10 0c 0004 4d515454 04 03 0000 0000", 0, MALFORMED, "the reserved flag [MQTT-3.1.2-3]"),
    ("10 0e 0004 4d515454 04 42 0000 0000 0000", 0, MALFORMED, "a password without a name [MQTT-3.1.2-22]"),
    ("10 0c 0004 48545450 04 02 0000 0000", 0, Reason.UNSUPPORTED_PROTOCOL_VERSION, "another name [MQTT-3.1.2-1]"),
    ("c0 00", 0, PROTOCOL, "PINGREQ first [MQTT-3.1.0-1]"),
    ("47 45 54 20 2f 20", 0, PROTOCOL, "another protocol [MQTT-3.1.0-1]"),
    ("10 ff ff ff 7f", 0, Reason.PACKET_TOO_LARGE, "larger than we take (3.2.2.3.6)"),
]


@pytest.mark.parametrize(("data", "answered_in", "reason", "clause"), CONNECTS)
@pytest.mark.mqtt(
    "MQTT-3.1.0-1",
    "MQTT-3.1.2-1",
    "MQTT-3.1.2-2",
    "MQTT-3.1.2-3",
    "MQTT-3.1.2-11",
    "MQTT-3.1.2-12",
    "MQTT-3.1.2-13",
    "MQTT-3.1.4-1",
    "MQTT-4.12.0-1",
)
@pytest.mark.mqtt311(
    "MQTT-3.1.0-1", "MQTT-3.1.2-1", "MQTT-3.1.2-2", "MQTT-3.1.2-3", "MQTT-3.1.2-22", "MQTT-3.1.3-7", "MQTT-3.1.3-8",
    "MQTT-3.1.4-1",
)  # fmt: skip
def test_a_bad_connect_is_refused(data: str, answered_in: int, reason: Reason, clause: str) -> None:
    """`answered_in`: the version of the CONNACK; 0: the connection ends without a word."""
    session = Session(Mqtt(max_packet_size=1000) if "7f" in data else Mqtt())
    event = session.receive(bytes.fromhex(data) + bytes(100 if data.startswith("47") else 0), 0.0)[-1]
    assert isinstance(event, Disconnected)
    assert (event.reason, event.will, session.closed) == (reason, False, True), (clause, event.text)
    said = session.take_output()
    if answered_in == 5:
        assert said[:1] + said[2:4] == bytes((0x20, 0, reason))
    elif answered_in == 4:
        code = {Reason.UNSUPPORTED_PROTOCOL_VERSION: 1, Reason.CLIENT_IDENTIFIER_NOT_VALID: 2}[reason]
        assert said == bytes((0x20, 2, 0, code))
    else:
        assert said == b""


def test_a_packet_over_the_maximum_is_refused_before_it_arrives(version: int) -> None:
    link = Link(version, Mqtt(max_packet_size=1000)).connect()
    assert link.send_bytes(bytes.fromhex("30 e5 07")) == [], "997 and 3 bytes are what we take"
    link = Link(version, Mqtt(max_packet_size=1000)).connect()
    (event,) = link.send_bytes(bytes.fromhex("30 e6 07"))
    assert isinstance(event, Disconnected)
    assert event.reason == Reason.PACKET_TOO_LARGE


def test_good_packets_before_a_bad_one_count(version: int) -> None:
    link = Link(version).connect()
    events = link.send_bytes(bytes.fromhex("30 04 0001 61 00 00 00"))
    assert [type(event).__name__ for event in events] == ["Message", "Disconnected"]


@pytest.mark.parametrize("cut", [0, 3, 8, 14])
@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ("0004 4d515454 05 02 003c 00 0001 61", True),
        ("0004 4d515454 04 02 003c 0001 61", False),
        ("0006 4d5149736470 03 02 003c 0001 61", False),
    ],
)
def test_a_length_longer_than_needed_is_refused_in_mqtt_5_from_connect_on(body: str, refused: bool, cut: int) -> None:
    """[MQTT-1.5.5-1]; 3.1.1 §2.2.3 says nothing of it. However the stream is cut."""
    raw = bytes.fromhex(body)
    data = bytes((0x10, 0x80 | len(raw), 0)) + raw
    session = Session(Mqtt())
    (event,) = session.receive(data[:cut], 0.0) + session.receive(data[cut:], 0.0)
    assert (session.closed, isinstance(event, Disconnected)) == (refused, refused)
