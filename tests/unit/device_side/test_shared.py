"""Shared subscriptions (MQTT5 §4.8.2): one copy for a group, in turn, and nobody takes what was for it away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.config import Mqtt
from bridge.device_side.cold import ColdStore
from bridge.mqtt import packets
from bridge.mqtt.events import Disconnected
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from bridge.mqtt.subscription import Subscription
from tests.unit.device_side.local import Local, Peer, local

SHARED = Subscription("$share/g/a/+", 2)


@pytest.fixture
def gateway(cold: ColdStore) -> Iterator[Local]:
    with local(cold, Mqtt(inflight_max=2)) as made:
        yield made


def member(gateway: Local, name: str, subscription: Subscription = SHARED, *, expiry_s: int = 0) -> Peer:
    peer = gateway.connect(name, expiry_s=expiry_s)
    assert peer.subscribe(subscription) == (subscription.qos,)
    return peer


def test_it_is_announced(gateway: Local) -> None:
    connack = gateway.connect("c").connack
    assert isinstance(connack, packets.Connack)
    assert connack.properties[Property.SHARED_SUBSCRIPTION_AVAILABLE] == 1


def test_members_have_their_turns_and_each_message_goes_to_one(gateway: Local) -> None:
    peers = [member(gateway, name) for name in "abc"]
    for number in range(9):
        gateway.tell("a/b", str(number), qos=0)
    assert [peer.payloads() for peer in peers] == [["0", "3", "6"], ["1", "4", "7"], ["2", "5", "8"]]


@pytest.mark.parametrize(("granted", "published", "expected"), [(0, 2, 0), (1, 2, 1), (2, 1, 1), (2, 2, 2)])
@pytest.mark.mqtt("MQTT-4.8.2-3")
def test_each_member_has_its_own_quality(gateway: Local, granted: int, published: int, expected: int) -> None:
    """[MQTT-4.8.2-3]."""
    peers = [member(gateway, name, Subscription("$share/g/a/+", qos)) for name, qos in (("a", granted), ("b", 2))]
    for _ in peers:
        gateway.tell("a/b", qos=published)
    assert [message.qos for peer in peers for message in peer.messages()] == [expected, published]


def test_groups_and_plain_subscriptions_are_apart(gateway: Local) -> None:
    """Each group has its copy, and a member that subscribes by itself too has one more."""
    peer = member(gateway, "a")
    other = member(gateway, "b", Subscription("$share/h/a/#", 1))
    peer.subscribe(Subscription("a/b", 0))
    gateway.tell("a/b", qos=2)
    assert sorted(message.qos for message in peer.messages()) == [0, 2]
    assert [message.qos for message in other.messages()] == [1]
    gateway.tell("b", qos=1)
    assert peer.messages() == other.messages() == []


def test_a_member_with_something_waiting_is_passed_over(gateway: Local) -> None:
    slow, quick = member(gateway, "slow"), member(gateway, "quick")
    got = []
    for number in range(20):
        gateway.tell("a/b", str(number))
        got += quick.payloads()
    stuck = len(slow.messages()) + len(slow.client.state.queue)
    assert len(got) == 20 - stuck
    assert stuck == 3, "its window of two, and the one it was given as the window was full"


def test_a_session_s_end_gives_what_it_had_not_finished_to_others(gateway: Local) -> None:
    """At QoS 1 what was sent and not acknowledged too (MQTT5 §4.8.2)."""
    going, staying = member(gateway, "going"), member(gateway, "staying")
    for number in range(8):
        gateway.tell("a/b", str(number))
    assert len(going.messages()) == 2
    going.drop()
    assert sorted(staying.payloads()) == [str(number) for number in range(8)]
    assert not any(message.dup for message in staying.messages())


@pytest.mark.mqtt("MQTT-4.8.2-5")
def test_what_was_begun_at_qos_2_goes_to_nobody_else(gateway: Local) -> None:
    """[MQTT-4.8.2-5]."""
    going, staying = member(gateway, "going"), member(gateway, "staying")
    gateway.tell("a/b", "0", qos=2)
    assert [message.payload for message in going.messages()] == [b"0"]
    going.drop()
    assert staying.messages() == []


@pytest.mark.mqtt("MQTT-4.8.2-4")
def test_a_member_that_is_away_keeps_what_was_begun_and_hands_over_what_waits(gateway: Local) -> None:
    """[MQTT-4.8.2-4]: an exchange at QoS 2 is finished with the member it was begun with."""
    going, staying = member(gateway, "going", expiry_s=60), member(gateway, "staying")
    for number in range(6):
        gateway.tell("a/b", str(number), qos=2)
    gateway.settle()
    assert len(going.messages()) == 2
    begun = [item.message.payload for item in going.client.state.in_flight.values()]
    going.drop()
    assert going.client.state.queue_bytes == 0
    assert [item.message.payload for item in going.client.state.in_flight.values()] == begun
    assert len(staying.client.state.in_flight) + len(staying.client.state.queue) == 4
    back = gateway.connect("going", clean=False)
    assert [message.payload for message in back.messages()] == begun


def test_who_is_away_is_asked_last(gateway: Local) -> None:
    away, there = member(gateway, "away", expiry_s=60), member(gateway, "there", expiry_s=60)
    away.drop()
    for number in range(3):
        gateway.tell("a/b", str(number))
    assert there.payloads() == ["0", "1", "2"]
    there.drop()
    gateway.tell("a/b", "3")
    assert len(away.client.state.queue) + len(there.client.state.queue) == 1


def test_unsubscribing_leaves_the_group_and_the_last_one_ends_it(gateway: Local) -> None:
    one, two = member(gateway, "1"), member(gateway, "2")
    for number in range(6):
        gateway.tell("a/b", str(number))
    assert one.unsubscribe(SHARED.filter, SHARED.filter) == [Reason.SUCCESS, Reason.NO_SUBSCRIPTION_EXISTED]
    assert one.payloads() == ["0", "2"], "what waited went to the other"
    assert sorted(two.payloads()) == ["1", "3", "4", "5"]
    assert two.unsubscribe(SHARED.filter) == [Reason.SUCCESS]
    assert gateway.broker.subscriptions.match("a/b") == []
    gateway.tell("a/b")
    assert one.messages() == two.messages() == []


def test_retained_messages_are_not_sent(gateway: Local) -> None:
    """[MQTT-3.3.1-9] is of plain subscriptions; a shared one gets none (MQTT5 §4.8.2)."""
    gateway.tell("a/b", retain=True)
    peer = gateway.connect("c")
    peer.subscribe(SHARED)
    gateway.broker.send_retained(peer.client, [SHARED])
    assert peer.messages() == []
    gateway.broker.send_retained(peer.client, [Subscription("a/+")])
    assert len(peer.messages()) == 1


@pytest.mark.mqtt("MQTT-3.8.3-4")
def test_no_local_on_a_shared_subscription_is_a_protocol_error(gateway: Local) -> None:
    """[MQTT-3.8.3-4]."""
    (event,) = gateway.connect("c").send(packets.Subscribe(1, (Subscription("$share/g/a", no_local=True),)))
    assert isinstance(event, Disconnected)
    assert event.reason == Reason.PROTOCOL_ERROR


@pytest.mark.mqtt("MQTT-4.8.2-6")
def test_a_refusal_goes_to_nobody_else(gateway: Local) -> None:
    """[MQTT-4.8.2-6]."""
    one, two = member(gateway, "1"), member(gateway, "2")
    gateway.tell("a/b")
    (message,) = one.messages()
    one.send(packets.Puback(message.packet_id, Reason.UNSPECIFIED_ERROR))
    assert one.messages() == two.messages() == []
    assert one.client.state.in_flight == {}
