"""Messages from a client: acknowledgements, QoS 2 across connections, the window, aliases (MQTT5 §3.3, §4.3, §4.9)."""

from __future__ import annotations

import tracemalloc

import pytest

from bridge.config import MIB, Mqtt
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.encode import encode
from bridge.mqtt.events import Disconnected, Event, Released, SubscribeRequested, UnsubscribeRequested
from bridge.mqtt.inbound import Inbound
from bridge.mqtt.packets import Packet
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session_state import SessionState, Stage
from bridge.mqtt.subscription import Subscription
from bridge.mqtt.topics import REMEMBERED_MAX
from tests.unit.mqtt.support import LIMITS, Link


def _open(version: int, state: SessionState | None = None, limits: Mqtt = LIMITS) -> Link:
    link = Link(version, limits).connect(state)
    link.answers()
    return link


def _publish(qos: int, packet_id: int = 1, *, dup: bool = False) -> Message:
    return Message("a/b", b"payload", qos, False, dup, packet_id)


def _only(events: list[Event]) -> Message:
    (event,) = events
    assert isinstance(event, Message)
    return event


def _reason(events: list[Event]) -> int:
    event = events[-1]
    assert isinstance(event, Disconnected)
    return event.reason


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("size", [0, 100, 200, 20_000])
def test_a_message_comes_out_as_it_was_sent(version: int, qos: int, retain: bool, size: int) -> None:
    """The first on a topic, and the second, which takes the short way; all lengths of the remaining length."""
    link = _open(version)
    for packet_id in (1, 2):
        sent = Message("a/ü", bytes(size), qos, retain, packet_id=packet_id if qos else 0)
        assert link.send(sent) == [sent]


def test_properties_reach_the_broker() -> None:
    link = _open(5)
    options: dict[int, object] = {Property.CONTENT_TYPE: "json", Property.USER_PROPERTY: [("k", "v"), ("k", "w")]}
    sent = Message("a", b"{}", 1, packet_id=1, properties=options)
    assert link.send(sent, sent) == [sent, sent]


def test_nothing_is_acknowledged_by_itself(version: int) -> None:
    link = _open(version)
    link.send(_publish(1, 1), _publish(2, 2))
    assert link.answers() == []


@pytest.mark.mqtt("MQTT-3.3.4-1", "MQTT-4.3.2-4", "MQTT-2.2.1-5")
def test_puback_comes_when_told(version: int) -> None:
    link = _open(version)
    link.session.acknowledge(_only(link.send(_publish(1, 7))))
    assert link.answers() == [packets.Puback(7)]


@pytest.mark.mqtt("MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-4.3.3-9")
def test_a_refusal_has_its_reason_in_version_5_only(version: int) -> None:
    link = _open(version)
    link.session.acknowledge(_only(link.send(_publish(1, 7))), Reason.NOT_AUTHORIZED)
    link.session.acknowledge(_only(link.send(_publish(2, 8))), Reason.QUOTA_EXCEEDED)
    reasons = (0x87, 0x97) if version == 5 else (0, 0)
    assert link.answers() == [packets.Puback(7, reasons[0]), packets.Pubrec(8, reasons[1])]
    assert _only(link.send(_publish(2, 8))), "the id is free again"


def test_qos_0_needs_no_acknowledgement(version: int) -> None:
    link = _open(version)
    link.session.acknowledge(_only(link.send(Message("a", b""))))
    assert link.answers() == []


def test_a_qos_1_acknowledgement_dies_with_its_connection(version: int) -> None:
    link = _open(version)
    message = _only(link.send(_publish(1)))
    link.session.close()
    later = _open(version, link.state)
    link.session.acknowledge(message)
    assert (link.session.take_output(), later.session.take_output()) == (b"", b"")


@pytest.mark.mqtt("MQTT-4.3.3-8", "MQTT-4.3.3-11")
def test_the_four_steps_of_qos_2(version: int) -> None:
    link = _open(version)
    message = _only(link.send(_publish(2, 5)))
    link.session.acknowledge(message)
    assert link.answers() == [packets.Pubrec(5)]
    assert link.send(packets.Pubrel(5)) == [Released(5)]
    assert link.answers() == [], "PUBCOMP waits until the release is durable"
    link.session.complete(5)
    assert link.answers() == [packets.Pubcomp(5)]
    assert link.state.incoming == {}


@pytest.mark.mqtt("MQTT-4.3.3-10")
def test_a_duplicate_yields_no_event_and_waits_for_the_first(version: int) -> None:
    """[MQTT-4.3.3-10]; PUBREC goes to the newest connection, and not before the message is durable."""
    link = _open(version)
    message = _only(link.send(_publish(2, 5)))
    link.session.close()
    later = _open(version, link.state)
    assert later.send(_publish(2, 5, dup=True)) == []
    assert later.answers() == []
    link.session.acknowledge(message)
    assert later.answers() == [packets.Pubrec(5)]
    assert link.answers() == []


def test_a_durable_duplicate_is_answered_at_once(version: int) -> None:
    link = _open(version)
    message = _only(link.send(_publish(2, 5)))
    link.session.close()
    link.session.acknowledge(message)
    assert link.state.incoming[5].stage == Stage.DURABLE
    later = _open(version, link.state)
    assert later.answers() == [], "the client has not asked again yet"
    assert later.send(_publish(2, 5, dup=True)) == []
    assert later.answers() == [packets.Pubrec(5)]


def test_hand_shakes_survive_a_restart_of_the_daemon(version: int) -> None:
    state = SessionState("c", version, 60, LIMITS)
    state.restore_incoming([5, 6])
    link = _open(version, state)
    assert link.send(_publish(2, 5, dup=True), packets.Pubrel(6)) == [Released(6)]
    assert link.answers() == [packets.Pubrec(5)]
    link.session.complete(6)
    assert link.answers() == [packets.Pubcomp(6)]


def test_a_release_is_reported_once_and_answered_to_who_asks(version: int) -> None:
    state = SessionState("c", version, 60, LIMITS)
    state.restore_incoming([5])
    link = _open(version, state)
    assert link.send(packets.Pubrel(5)) == [Released(5)]
    link.session.close()
    later = _open(version, state)
    assert later.send(packets.Pubrel(5)) == []
    link.session.complete(5)
    assert later.answers() == [packets.Pubcomp(5)]


def test_a_release_of_an_unknown_id_lets_the_client_finish(version: int) -> None:
    link = _open(version)
    assert link.send(packets.Pubrel(9)) == []
    assert link.answers() == [packets.Pubcomp(9, 0x92 if version == 5 else 0)]


def test_a_release_before_pubrec_breaks_the_protocol(version: int) -> None:
    link = _open(version)
    assert _reason(link.send(_publish(2, 5), packets.Pubrel(5))) == Reason.PROTOCOL_ERROR


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.mqtt("MQTT-3.3.4-7")
def test_the_receive_maximum_is_enforced(qos: int) -> None:
    """[MQTT-3.3.4-9]: 0x93."""
    link = _open(5, limits=Mqtt(receive_maximum=3))
    events = link.send(*(_publish(qos, packet_id) for packet_id in (1, 2, 3, 4)))
    assert [type(event) for event in events] == [Message, Message, Message, Disconnected]
    assert _reason(events) == Reason.RECEIVE_MAXIMUM_EXCEEDED


def test_the_window_opens_as_the_client_counts_it() -> None:
    """PUBACK, PUBCOMP and a refusing PUBREC open it, PUBREC does not (4.9)."""
    link = _open(5, limits=Mqtt(receive_maximum=3))
    one, two, three = link.send(_publish(1, 1), _publish(2, 2), _publish(2, 3))
    assert isinstance(one, Message)
    assert isinstance(two, Message)
    assert isinstance(three, Message)
    link.session.acknowledge(one)
    link.session.acknowledge(two)
    link.session.acknowledge(three, Reason.QUOTA_EXCEEDED)
    assert len(link.send(_publish(1, 4), packets.Pubrel(2))) == 2
    link.session.complete(2)
    assert len(link.send(_publish(1, 5))) == 1
    assert not link.session.closed
    assert _reason(link.send(_publish(1, 6), _publish(1, 7))) == Reason.RECEIVE_MAXIMUM_EXCEEDED


def test_repetitions_count_against_the_new_connections_window() -> None:
    link = _open(5, limits=Mqtt(receive_maximum=2))
    link.send(_publish(2, 1), _publish(2, 2))
    link.session.close()
    later = _open(5, link.state, Mqtt(receive_maximum=2))
    assert later.send(_publish(2, 1, dup=True), _publish(2, 2, dup=True)) == []
    assert _reason(later.send(_publish(2, 3))) == Reason.RECEIVE_MAXIMUM_EXCEEDED


def test_a_release_of_an_earlier_exchange_opens_the_window_too() -> None:
    """PUBLISH and our PUBCOMP cross: the client, whose window was not full open, may send one more (4.9)."""
    limits = Mqtt(receive_maximum=1)
    state = SessionState("c", 5, 60, limits)
    state.restore_incoming([5])
    link = _open(5, state, limits)
    assert link.send(packets.Pubrel(5)) == [Released(5)]
    link.session.complete(5)
    assert len(link.send(_publish(1, 1), _publish(1, 2))) == 2
    assert _reason(link.send(_publish(1, 3))) == Reason.RECEIVE_MAXIMUM_EXCEEDED


def test_version_3_1_1_has_no_receive_maximum() -> None:
    link = _open(4, limits=Mqtt(receive_maximum=3))
    assert len(link.send(*(_publish(1, packet_id) for packet_id in range(1, 101)))) == 100
    assert not link.session.closed


@pytest.mark.mqtt("MQTT-3.3.2-12")
def test_topic_aliases() -> None:
    """Set, used, set anew, each as its topic (3.3.2.3.4); the alias itself is no property of the message."""
    link = _open(5)

    def topic(name: str, alias: int) -> str:
        message = _only(link.send(Message(name, b"", properties={Property.TOPIC_ALIAS: alias})))
        assert message.properties is None
        return message.topic

    assert [topic("a", 1), topic("b", 16), topic("", 1), topic("", 16), topic("c", 1), topic("", 1)] == [
        "a", "b", "a", "b", "c", "c",
    ]  # fmt: skip


@pytest.mark.mqtt("MQTT-3.3.2-7")
def test_aliases_end_with_their_connection() -> None:
    """[MQTT-3.3.2-7]."""
    link = _open(5)
    link.send(Message("a", b"", properties={Property.TOPIC_ALIAS: 1}))
    link.session.close()
    later = _open(5, link.state)
    assert _reason(later.send(Message("", b"", properties={Property.TOPIC_ALIAS: 1}))) == Reason.PROTOCOL_ERROR


def test_our_limits_on_topics(version: int) -> None:
    for topic in ("a" * 11, "a/b/c/d"):
        link = _open(version, limits=Mqtt(topic_max_bytes=10, topic_levels_max=3))
        assert _reason(link.send(Message(topic, b""))) == Reason.TOPIC_NAME_INVALID
        link = _open(version, limits=Mqtt(topic_max_bytes=10, topic_levels_max=3))
        asked = packets.Subscribe(1, (Subscription(topic),))
        assert _reason(link.send(asked)) == Reason.TOPIC_FILTER_INVALID


def test_more_topics_than_are_remembered(version: int) -> None:
    link = _open(version, limits=Mqtt(topic_cache_max=2))
    sent = [Message(f"t/{n % 5}", b"") for n in range(20)]
    assert link.send(*sent) == sent


@pytest.mark.mqtt("MQTT-2.2.1-6", "MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-3.10.4-4", "MQTT-3.10.4-5")
def test_subscribe_and_unsubscribe(version: int) -> None:
    link = _open(version)
    full = Subscription("a/#", 1, True, True, 2, (9,))
    asked = full if version == 5 else Subscription("a/#", 1)
    options: dict[int, object] = {Property.SUBSCRIPTION_IDENTIFIER: [9]}
    events = link.send(packets.Subscribe(3, (full,), options), packets.Unsubscribe(4, ("a/#", "b")))
    assert events == [
        SubscribeRequested(3, (asked,), options if version == 5 else {}),
        UnsubscribeRequested(4, ("a/#", "b")),
    ]
    link.session.subscribed(3, [Reason.NOT_AUTHORIZED])
    link.session.unsubscribed(4, [0, Reason.NO_SUBSCRIPTION_EXISTED])
    said: list[Packet] = [packets.Suback(3, (0x87,)), packets.Unsuback(4, (0, 0x11))]
    assert link.answers() == (said if version == 5 else [packets.Suback(3, (0x80,)), packets.Unsuback(4)])


@pytest.mark.mqtt("MQTT-3.1.2-24")
def test_an_answer_the_client_cannot_take_ends_the_connection() -> None:
    """[MQTT-3.1.2-24]."""
    link = Link(5).connect(properties={Property.MAXIMUM_PACKET_SIZE: 40})
    link.answers()
    link.session.subscribed(1, [0] * 50)
    assert link.session.closed
    assert link.answers() == [packets.Disconnect(Reason.IMPLEMENTATION_SPECIFIC_ERROR)]


@pytest.mark.timeout(20)
def test_a_large_packet_in_small_pieces_costs_linear_time() -> None:
    limits = Mqtt(max_packet_size=20 * MIB)
    link = _open(4, limits=limits)
    data = encode(Message("a", bytes(16 * MIB)), 4)
    events = [event for at in range(0, len(data), 100) for event in link.send_bytes(data[at : at + 100])]
    assert len(_only(events).payload) == 16 * MIB


def test_an_unfinished_packet_costs_no_more_than_its_bytes() -> None:
    link = _open(5)
    tracemalloc.start()
    link.send_bytes(b"\x30\xff\xff\x3f")
    for _ in range(20_000):
        link.send_bytes(b"xy")
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 100_000


def test_long_topics_are_taken_and_not_remembered(version: int) -> None:
    inbound = Inbound(SessionState("c", version, 0, LIMITS), version, 8, LIMITS, [])
    events: list[Event] = []
    names = ["s" * REMEMBERED_MAX, "l" * (REMEMBERED_MAX + 1), "l" * 0xFFFF, "a" + "/a" * 199]
    for name in names:
        inbound.publish(Message(name, b""), events)
    assert [event.topic for event in events if isinstance(event, Message)] == names
    assert list(inbound.topics.values()) == [names[0], names[3]]


def test_what_a_client_has_remembered_is_counted() -> None:
    """CONNECT with its will and properties, and the topics behind its aliases, each up to 64 KiB."""
    link = Link(5).connect(properties={Property.USER_PROPERTY: [("k", "v" * 1000)]})
    before = link.session.input_bytes
    assert 1000 < before < 1100
    for topic in ("a" * 5000, "b" * 60_000, "c" * 10_000):
        link.send(Message(topic, b"", properties={Property.TOPIC_ALIAS: 1}))
    assert 10_000 < link.session.input_bytes - before < 10_100, "an alias stands for its last topic"
    link.send(Message("d" * 60_000, b"", properties={Property.TOPIC_ALIAS: 2}))
    assert link.session.input_bytes - before > 70_000
