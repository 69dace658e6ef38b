"""Messages to a client: QoS, window, queue, repetition, sizes (MQTT5 §3.3, §4.3, §4.4, §4.6, §4.9)."""

from __future__ import annotations

import pytest

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.copies import Copies
from bridge.mqtt.events import Disconnected
from bridge.mqtt.packets import Packet
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session import Session
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription
from tests.unit.mqtt.support import LIMITS, Link

ALL = Subscription("#", 2)


def _open(version: int, state: SessionState | None = None, limits: Mqtt = LIMITS, **fields: object) -> Link:
    link = Link(version, limits).connect(state, **fields)
    link.answers()
    return link


def _message(text: str, qos: int = 1) -> Message:
    return Message("t", text.encode(), qos)


def _payloads(sent: list[Packet]) -> list[str]:
    return [packet.payload.decode() for packet in sent if isinstance(packet, Message)]


@pytest.mark.parametrize(
    ("published", "subscribed", "expected"), [(0, 2, 0), (1, 2, 1), (2, 1, 1), (2, 0, 0), (2, 2, 2)]
)
@pytest.mark.mqtt("MQTT-3.8.4-8")
def test_the_lower_qos_counts(version: int, published: int, subscribed: int, expected: int) -> None:
    """(3.8.4)."""
    link = _open(version)
    assert link.session.deliver(_message("x", published), Subscription("#", subscribed))
    assert link.answers() == [Message("t", b"x", expected, packet_id=1 if expected else 0)]


@pytest.mark.parametrize(
    ("retained", "as_published", "expected"), [(False, False, False), (False, True, True), (True, False, True)]
)
@pytest.mark.mqtt("MQTT-3.3.1-12", "MQTT-3.3.1-13")
def test_the_retain_flag(retained: bool, as_published: bool, expected: bool) -> None:
    """[MQTT-3.3.1-8] [MQTT-3.3.1-12] [MQTT-3.3.1-13]."""
    link = _open(5)
    wanted = Subscription("#", retain_as_published=as_published)
    link.session.deliver(Message("t", b"", retain=True), wanted, retained=retained)
    (sent,) = link.answers()
    assert isinstance(sent, Message)
    assert sent.retain is expected


@pytest.mark.mqtt("MQTT-3.3.4-3", "MQTT-3.3.2-17")
def test_properties_and_subscription_identifiers_go_with_it(version: int) -> None:
    """[MQTT-3.3.4-3] [MQTT-3.3.2-17]; 3.1.1 gets the payload alone."""
    link = _open(version)
    options: dict[int, object] = {Property.CONTENT_TYPE: "json"}
    link.session.deliver(Message("t", b"{}", properties=options), Subscription("#", identifiers=(3, 9)))
    expected = options | {Property.SUBSCRIPTION_IDENTIFIER: [3, 9]} if version == 5 else None
    assert link.answers() == [Message("t", b"{}", properties=expected)]
    assert options == {Property.CONTENT_TYPE: "json"}


@pytest.mark.mqtt("MQTT-3.3.2-5", "MQTT-3.3.2-6")
def test_a_message_is_counted_down_and_dropped_when_it_has_expired() -> None:
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6]."""
    link = _open(5)
    link.now = 50.0
    link.send(packets.Pingreq())
    link.answers()
    message = Message("t", b"", properties={Property.MESSAGE_EXPIRY_INTERVAL: 60})
    assert link.session.deliver(message, ALL, expires=80.0)
    assert not link.session.deliver(message, ALL, expires=50.0)
    assert link.answers() == [Message("t", b"", properties={Property.MESSAGE_EXPIRY_INTERVAL: 30})]


@pytest.mark.parametrize(("waited", "left"), [(0.02, 4), (1.0, 3), (1.5, 3), (3.9, 1)])
@pytest.mark.mqtt("MQTT-3.3.2-6")
def test_whole_seconds_of_waiting_count(waited: float, left: int) -> None:
    """A retained message asked for at once still has all its time."""
    link = _open(5)
    message = Message("t", b"", 1, properties={Property.MESSAGE_EXPIRY_INTERVAL: 4})
    link.session.deliver(message, ALL, expires=104.0, now=100.0 + waited)
    (sent,) = link.answers()
    assert isinstance(sent, Message)
    assert sent.properties == {Property.MESSAGE_EXPIRY_INTERVAL: left}


@pytest.mark.mqtt("MQTT-3.3.2-6")
def test_a_client_that_says_nothing_does_not_stop_the_clock_of_what_it_is_sent() -> None:
    """[MQTT-3.3.2-6]: the interval is what is left when it is sent, whenever the client was last heard."""
    link = _open(5)
    message = Message("t", b"", 1, properties={Property.MESSAGE_EXPIRY_INTERVAL: 60})
    assert link.session.deliver(message, ALL, expires=1060.0, now=1000.0)
    (sent,) = link.answers()
    assert isinstance(sent, Message)
    assert sent.properties == {Property.MESSAGE_EXPIRY_INTERVAL: 60}


def test_what_has_expired_makes_room_in_a_full_queue() -> None:
    state = SessionState("c", 5, 60, Mqtt(queue_max_messages=3))
    for expires in (20.0, None, 10.0):
        assert state.enqueue(_message("old"), ALL, 0.0, expires=expires)
    assert not state.enqueue(_message("early"), ALL, 9.0)
    assert state.enqueue(_message("new"), ALL, 10.0)
    assert not state.enqueue(_message("early"), ALL, 19.0)
    assert state.enqueue(_message("new"), ALL, 20.0)
    assert [item.message.payload for item in state.queue] == [b"old", b"new", b"new"]
    assert state.queue_bytes == sum(item.size for item in state.queue)
    assert state.dropped == 4


@pytest.mark.mqtt("MQTT-4.3.3-7")
def test_what_was_begun_is_repeated_though_it_has_expired() -> None:
    """[MQTT-4.4.0-1]."""
    link = _open(5)
    link.session.deliver(Message("t", b"", 1, properties={Property.MESSAGE_EXPIRY_INTERVAL: 5}), ALL, expires=5.0)
    link.session.close()
    later = Link(5)
    later.now = 60.0
    later.connect(link.state)
    _, sent = later.answers()
    assert sent == Message("t", b"", 1, False, True, 1, {Property.MESSAGE_EXPIRY_INTERVAL: 0})


@pytest.mark.mqtt("MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2")
def test_the_window_is_the_lower_of_the_clients_and_ours(version: int) -> None:
    """[MQTT-3.3.4-7]; what does not fit waits, and goes in order as the window opens."""
    options = {Property.RECEIVE_MAXIMUM: 2} if version == 5 else {}
    link = _open(version, limits=Mqtt(inflight_max=3 if version == 5 else 2), properties=options)
    for text in "abcd":
        assert link.session.deliver(_message(text), ALL)
    assert _payloads(link.answers()) == ["a", "b"]
    link.send(packets.Puback(2))
    link.send(packets.Puback(1))
    assert _payloads(link.answers()) == ["c", "d"]
    link.send(packets.Puback(3), packets.Puback(4))
    assert link.state.in_flight == {}


def test_the_window_is_one_of_bytes_too(version: int) -> None:
    """One message more than fits may be on its way, so that the largest is sent as well; the order stays."""
    link = _open(version, limits=Mqtt(inflight_max_bytes=10))
    for text in ("large" * 4, "1", "2", "3" * 10, "4"):
        assert link.session.deliver(_message(text), ALL)
    expected = [["large" * 4], ["1", "2", "3" * 10], ["4"]]
    for texts in expected:
        came = link.answers()
        assert _payloads(came) == texts
        link.send(*(packets.Puback(message.packet_id) for message in came if isinstance(message, Message)))
    assert link.answers() == []
    assert link.state.flight_bytes == 0


def test_the_window_of_bytes_does_not_stop_repetitions(version: int) -> None:
    link = _open(version)
    for text in ("one" * 4, "two" * 4, "three" * 4):
        link.session.deliver(_message(text), ALL)
    again = Link(version, Mqtt(inflight_max_bytes=10)).connect(link.state)
    assert _payloads(again.answers()) == ["one" * 4, "two" * 4, "three" * 4]


def test_room_that_forgetting_makes_lets_nobody_overtake(version: int) -> None:
    link = _open(version, limits=Mqtt(inflight_max_bytes=10))
    for text in ("large" * 4, "1"):
        link.session.deliver(_message(text), ALL)
    link.answers()
    link.state.forget(link.state.in_flight[1])
    link.session.deliver(_message("2"), ALL)
    link.send(packets.Puback(1))
    assert _payloads(link.answers()) == ["1", "2"]


def test_what_is_forgotten_is_not_repeated_and_its_packet_id_is_taken_until_it_is_answered(version: int) -> None:
    link = _open(version, limits=Mqtt(inflight_max=3))
    for qos, text in ((1, "one"), (2, "two"), (1, "three"), (1, "four")):
        link.session.deliver(_message(text, qos), ALL)
    link.answers()
    for item in link.state.in_flight.values():
        link.state.forget(item)
    assert link.state.flight_bytes == 0
    link.session.deliver(_message("five"), ALL)
    assert link.answers() == [], "it opens no window"
    link.send(packets.Puback(1))
    assert _payloads(link.answers()) == ["four"]
    again = Link(version).connect(link.state)
    pubrel, *rest = [packet for packet in again.answers() if not isinstance(packet, packets.Connack)]
    assert (pubrel, _payloads(rest)) == (packets.Pubrel(2), ["four", "five"])
    again.send(packets.Pubcomp(2))
    assert [item.message.payload for item in again.state.in_flight.values()] == [b"four", b"five"]


def test_qos_2_takes_its_room_until_pubcomp(version: int) -> None:
    link = _open(version, limits=Mqtt(inflight_max=1))
    link.session.deliver(_message("a", 2), ALL)
    link.session.deliver(_message("b", 1), ALL)
    link.answers()
    link.send(packets.Pubrec(1))
    assert link.answers() == [packets.Pubrel(1)]
    link.send(packets.Pubrec(1))
    assert link.answers() == [packets.Pubrel(1)]
    link.send(packets.Pubcomp(1))
    assert _payloads(link.answers()) == ["b"]


@pytest.mark.mqtt("MQTT-4.4.0-2")
def test_a_refusing_pubrec_ends_the_exchange() -> None:
    """[MQTT-4.3.3-5]: no PUBREL follows."""
    link = _open(5, limits=Mqtt(inflight_max=1))
    link.session.deliver(_message("a", 2), ALL)
    link.session.deliver(_message("b", 2), ALL)
    link.answers()
    link.send(packets.Pubrec(1, Reason.QUOTA_EXCEEDED))
    assert _payloads(link.answers()) == ["b"]


def test_answers_to_unknown_ids(version: int) -> None:
    link = _open(version)
    assert link.send(packets.Puback(9), packets.Pubcomp(9), packets.Pubrec(9)) == []
    assert link.answers() == [packets.Pubrel(9, 0x92 if version == 5 else 0)]


@pytest.mark.parametrize(("qos", "wrong"), [(1, packets.Pubrec(1)), (2, packets.Puback(1)), (2, packets.Pubcomp(1))])
def test_answers_of_the_wrong_kind(version: int, qos: int, wrong: Packet) -> None:
    link = _open(version)
    link.session.deliver(_message("a", qos), ALL)
    (event,) = link.send(wrong)
    assert isinstance(event, Disconnected)
    assert event.reason == Reason.PROTOCOL_ERROR


@pytest.mark.mqtt("MQTT-4.4.0-1", "MQTT-3.3.1-1")
def test_what_was_not_acknowledged_is_repeated(version: int) -> None:
    """[MQTT-4.4.0-1] with DUP [MQTT-3.3.1-1] and its old id; PUBREL where PUBREC had come; then the queue."""
    limits = Mqtt(inflight_max=3)
    link = _open(version, limits=limits)
    for text, qos in (("a", 1), ("b", 2), ("c", 2), ("d", 1)):
        link.session.deliver(_message(text, qos), ALL)
    link.send(packets.Pubrec(2))
    link.session.close()
    assert link.session.deliver(_message("e"), ALL), "queued for the next connection"
    later = _open_raw(version, link.state, limits)
    assert later.answers()[1:] == [
        packets.Pubrel(2),
        Message("t", b"a", 1, False, True, 1),
        Message("t", b"c", 2, False, True, 3),
    ]
    later.send(packets.Puback(1), packets.Pubcomp(2))
    assert _payloads(later.answers()) == ["d", "e"]


@pytest.mark.mqtt("MQTT-4.6.0-4")
def test_releases_are_repeated_in_the_order_of_pubrec(version: int) -> None:
    """[MQTT-4.6.0-4]."""
    link = _open(version)
    for text in "ab":
        link.session.deliver(_message(text, 2), ALL)
    link.send(packets.Pubrec(2), packets.Pubrec(1))
    link.session.close()
    later = _open_raw(version, link.state, LIMITS)
    assert later.answers()[1:] == [packets.Pubrel(2), packets.Pubrel(1)]


def _open_raw(version: int, state: SessionState, limits: Mqtt, **fields: object) -> Link:
    return Link(version, limits).connect(state, **fields)


def test_repetition_keeps_to_a_smaller_window() -> None:
    link = _open(5)
    for text in "abc":
        link.session.deliver(_message(text), ALL)
    link.session.close()
    later = _open_raw(5, link.state, LIMITS, properties={Property.RECEIVE_MAXIMUM: 1})
    assert _payloads(later.answers()) == ["a"]
    later.session.deliver(_message("d"), ALL)
    for packet_id, text in ((1, "b"), (2, "c"), (3, "d")):
        later.send(packets.Puback(packet_id))
        assert _payloads(later.answers()) == [text]


def test_an_answer_can_overtake_the_repetition() -> None:
    """A PUBACK for what this connection has not repeated yet: it is not repeated any more."""
    link = _open(5)
    for text in "abc":
        link.session.deliver(_message(text), ALL)
    link.session.close()
    later = _open_raw(5, link.state, LIMITS, properties={Property.RECEIVE_MAXIMUM: 1})
    later.send(packets.Puback(2), packets.Puback(1))
    assert _payloads(later.answers()) == ["a", "c"]


@pytest.mark.mqtt("MQTT-3.1.2-25")
def test_a_packet_over_the_clients_maximum_is_dropped() -> None:
    """[MQTT-3.1.2-25]: as if it had been delivered; the next one is sent, with the same id."""
    link = _open(5, properties={Property.MAXIMUM_PACKET_SIZE: 100})
    assert not link.session.deliver(_message("x" * 100), ALL)
    assert not link.session.deliver(_message("x" * 100, 0), ALL)
    assert link.session.deliver(_message("y"), ALL)
    assert _payloads(link.answers()) == ["y"]
    assert (link.state.dropped, len(link.state.in_flight)) == (2, 1)


def test_a_repetition_over_a_new_maximum_is_dropped() -> None:
    link = _open(5)
    link.session.deliver(_message("x" * 100), ALL)
    link.session.deliver(_message("y"), ALL)
    link.session.close()
    later = _open_raw(5, link.state, LIMITS, properties={Property.MAXIMUM_PACKET_SIZE: 100})
    assert _payloads(later.answers()) == ["y"]
    assert list(later.state.in_flight) == [2]


@pytest.mark.parametrize(
    "limits",
    [
        Mqtt(queue_max_messages=3, queue_on_full="drop_oldest"),
        Mqtt(queue_max_bytes=6, queue_on_full="drop_oldest"),
    ],
)
def test_a_full_queue_may_make_room_for_what_is_new(limits: Mqtt) -> None:
    """The bounds hold all the while; a message that is too large for the whole queue displaces nothing."""
    state = SessionState("c", 5, 60, limits)
    assert all(state.enqueue(Message("t", str(number).encode(), 1), Subscription("t", 1), 0.0) for number in range(6))
    assert [item.message.payload for item in state.queue] == [b"3", b"4", b"5"]
    assert (state.displaced, state.dropped) == (3, 3)
    if limits.queue_max_bytes == 6:
        assert state.queue_bytes == 6
        assert not state.enqueue(Message("t", bytes(6), 1), Subscription("t", 1), 0.0)
        assert (len(state.queue), state.displaced) == (3, 3)


@pytest.mark.parametrize("limits", [Mqtt(queue_max_messages=3), Mqtt(queue_max_bytes=6)])
def test_the_queue_of_who_is_away_is_bounded(version: int, limits: Mqtt) -> None:
    state = SessionState("c", version, 60, limits)
    assert [state.enqueue(_message(text), ALL, 0.0) for text in "abcd"] == [True, True, True, False]
    assert not state.enqueue(_message("e", 0), ALL, 0.0), "QoS 0 is not kept"
    assert (state.dropped, state.queue_bytes) == (2, 6)
    link = _open_raw(version, state, limits)
    assert _payloads(link.answers()) == ["a", "b", "c"]
    assert state.queue_bytes == 0


@pytest.mark.mqtt("MQTT-2.2.1-4", "MQTT-4.3.2-1", "MQTT-4.3.3-1")
def test_packet_ids_go_round_and_skip_those_in_use(version: int) -> None:
    state = SessionState("c", version, 60, LIMITS)
    state.last_packet_id = 65_534
    link = _open(version, state)
    for text in "ab":
        link.session.deliver(_message(text), ALL)
    assert list(state.in_flight) == [65_535, 1]
    link.send(packets.Puback(1))
    state.last_packet_id = 65_534
    link.session.deliver(_message("c"), ALL)
    assert list(state.in_flight) == [65_535, 1]


def test_what_waits_in_the_output_is_counted(version: int) -> None:
    link = _open(version)
    link.session.deliver(_message("x" * 1000, 0), ALL)
    assert 1000 < link.session.output_bytes < 1020
    link.session.take_output()
    assert link.session.output_bytes == 0


def test_deliver_before_accept_is_our_mistake() -> None:
    link = Link(5)
    assert link.session.output_bytes == 0
    with pytest.raises(RuntimeError):
        link.session.deliver(_message("x"), ALL)


def test_what_the_client_does_not_take_is_not_encoded_but_waits(version: int) -> None:
    """A window's worth of large messages is bounded in bytes, not only in number; order is kept."""
    link = Link(version)
    link.session = Session(LIMITS, output_max=1000)
    link.connect()
    link.answers()
    for number in range(20):
        assert link.session.deliver(Message("t", b"%02d" % number + bytes(498), 1), ALL)
    sent = []
    for _ in range(12):
        batch = [packet for packet in link.answers() if isinstance(packet, Message)]
        assert len(batch) <= 2
        sent += batch
        assert link.session.stalled() or len(sent) == 20
        link.session.drained(1.0)
    assert [message.payload[:2] for message in sent] == [b"%02d" % number for number in range(20)]
    assert not link.session.has_output()


@pytest.mark.mqtt("MQTT-3.1.2-26", "MQTT-3.3.2-11")
def test_topics_have_aliases_as_far_as_the_client_takes_them() -> None:
    """[MQTT-3.1.2-26]: the name with the first message, the alias alone from then on; anew on each connection."""
    wish = {Property.TOPIC_ALIAS_MAXIMUM: 2}
    link = _open(5, properties=wish, limits=Mqtt(topic_alias_maximum=5))
    seen = []
    for topic in ("one/topic", "another", "one/topic", "too/many", "abc", "another"):
        link.session.deliver(Message(topic, b"x", 1), ALL, copies=Copies())
        (sent,) = link.answers()
        assert isinstance(sent, Message)
        seen.append((sent.topic, (sent.properties or {}).get(Property.TOPIC_ALIAS)))
    assert seen == [("one/topic", 1), ("another", 2), ("", 1), ("too/many", None), ("abc", None), ("", 2)]
    link.session.close()
    later = _open_raw(5, link.state, LIMITS, properties=wish)
    again = [packet.topic for packet in later.answers() if isinstance(packet, Message)]
    assert again == ["one/topic", "another", "", "too/many", "abc", ""]


def test_an_alias_that_went_with_a_packet_too_large_is_not_used() -> None:
    link = _open(5, properties={Property.TOPIC_ALIAS_MAXIMUM: 1, Property.MAXIMUM_PACKET_SIZE: 40})
    assert not link.session.deliver(Message("one/topic", bytes(50), 1), ALL)
    assert link.session.deliver(Message("one/topic", b"", 1), ALL)
    (sent,) = link.answers()
    assert isinstance(sent, Message)
    assert sent.topic == "one/topic"


def test_a_long_topic_has_no_alias() -> None:
    """It would have to be remembered for as long as the connection stands."""
    link = _open(5, properties={Property.TOPIC_ALIAS_MAXIMUM: 2})
    for _ in range(2):
        assert link.session.deliver(Message("a" * 1025, b""), ALL)
    assert [len(packet.topic) for packet in link.answers() if isinstance(packet, Message)] == [1025] * 2


@pytest.mark.mqtt("MQTT-3.1.2-27")
def test_who_allows_no_alias_gets_none(version: int) -> None:
    """[MQTT-3.1.2-27]."""
    link = _open(version)
    for _ in range(2):
        link.session.deliver(Message("one/topic", b"x"), ALL)
    assert [packet.topic for packet in link.answers() if isinstance(packet, Message)] == ["one/topic"] * 2
