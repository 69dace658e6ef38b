"""Who gets a message, how often, and in which form (MQTT5 §3.3.4, §3.8.3.1)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.config import Limits, Mqtt
from bridge.device_side.cold import ColdStore
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from bridge.mqtt.subscription import Subscription
from tests.unit.device_side.local import Local, local


@pytest.fixture
def gateway(cold: ColdStore) -> Iterator[Local]:
    with local(cold, Mqtt(queue_max_messages=3), Limits(output_bytes=4096)) as made:
        yield made


@pytest.mark.mqtt("MQTT-3.3.4-2", "MQTT-3.3.4-4")
def test_overlapping_subscriptions_give_one_copy_at_the_highest_qos_with_every_identifier(gateway: Local) -> None:
    """[MQTT-3.3.4-2] [MQTT-3.3.4-4]."""
    peer = gateway.connect("c")
    peer.subscribe(Subscription("a/#", 1), identifier=3)
    peer.subscribe(Subscription("a/+", 2), identifier=5)
    peer.subscribe(Subscription("+/b", 0))
    peer.subscribe(Subscription("other", 2), identifier=9)
    gateway.tell("a/b", qos=2)
    (message,) = peer.messages()
    assert message.qos == 2
    assert message.properties is not None
    identifiers = message.properties[Property.SUBSCRIPTION_IDENTIFIER]
    assert isinstance(identifiers, list)
    assert sorted(identifiers) == [3, 5]


@pytest.mark.mqtt("MQTT-3.8.4-3")
def test_a_filter_subscribed_again_is_replaced_with_its_identifier(gateway: Local) -> None:
    """[MQTT-3.8.4-3]."""
    peer = gateway.connect("c")
    peer.subscribe(Subscription("a", 2), identifier=3)
    peer.subscribe(Subscription("a", 1), identifier=4)
    gateway.tell("a", qos=2)
    (message,) = peer.messages()
    assert (message.qos, message.properties) == (1, {Property.SUBSCRIPTION_IDENTIFIER: [4]})


@pytest.mark.mqtt("MQTT-3.8.3-3")
def test_no_local_is_of_one_subscription(gateway: Local) -> None:
    """[MQTT-3.8.3-3]: what another of its filters wants of its own messages it gets."""
    peer, other = gateway.connect("c"), gateway.connect("d")
    peer.subscribe(Subscription("a/#", 2, no_local=True), identifier=1)
    peer.subscribe(Subscription("a/own", 1), identifier=2)
    gateway.tell("a/b", by=peer)
    assert peer.messages() == []
    gateway.tell("a/own", qos=2, by=peer)
    (message,) = peer.messages()
    assert (message.qos, message.properties) == (1, {Property.SUBSCRIPTION_IDENTIFIER: [2]})
    gateway.tell("a/b", by=other)
    assert len(peer.messages()) == 1


@pytest.mark.parametrize("wishes", [(False,), (True,), (False, True), (True, False)])
@pytest.mark.mqtt("MQTT-3.3.1-12", "MQTT-3.3.1-13")
def test_retain_as_published(gateway: Local, wishes: tuple[bool, ...]) -> None:
    """[MQTT-3.3.1-12] [MQTT-3.3.1-13]; of overlapping subscriptions one that wants it is enough."""
    peer = gateway.connect("c")
    for topic_filter, wish in zip(("a", "#"), wishes, strict=False):
        peer.subscribe(Subscription(topic_filter, 1, retain_as_published=wish))
    gateway.tell("a", retain=True)
    gateway.tell("a", retain=False)
    assert [message.retain for message in peer.messages()] == [any(wishes), False]


def test_a_subscriber_that_does_not_read_costs_itself_only(gateway: Local) -> None:
    """QoS 0 is dropped for it past `limits.output_bytes`; the others have it all."""
    slow, quick = gateway.connect("slow"), gateway.connect("quick")
    for peer in (slow, quick):
        peer.subscribe(Subscription("#"))
    got = []
    for number in range(100):
        gateway.tell("a", f"{number:0100}", qos=0)
        got += quick.payloads()
    assert len(got) == 100
    assert slow.connection.output_bytes < 4096 + 128
    assert len(slow.messages()) < 50


def test_a_client_that_is_away_has_its_queue_up_to_its_bounds(gateway: Local) -> None:
    peer = gateway.connect("c", expiry_s=60)
    peer.subscribe(Subscription("a", 1))
    peer.drop()
    for number in range(5):
        gateway.tell("a", str(number))
        gateway.tell("a", "lost", qos=0)
    assert gateway.connect("c", clean=False).payloads() == ["0", "1", "2"]
    assert peer.client.state.dropped == 2


@pytest.mark.mqtt("MQTT-4.7.2-1")
def test_wildcards_do_not_find_what_begins_with_a_dollar(gateway: Local) -> None:
    """[MQTT-4.7.2-1]."""
    peer = gateway.connect("c")
    peer.subscribe(Subscription("#"), Subscription("+/x"))
    gateway.tell("$SYS/x")
    assert peer.messages() == []
    peer.subscribe(Subscription("$SYS/#"))
    gateway.tell("$SYS/x")
    assert len(peer.messages()) == 1


@pytest.mark.mqtt("MQTT-3.3.2-5", "MQTT-3.3.2-6")
def test_message_expiry_is_counted_down_and_what_has_expired_is_dropped(gateway: Local) -> None:
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6], in a queue and among the retained messages."""
    peer = gateway.connect("c", expiry_s=600)
    peer.subscribe(Subscription("q", 1))
    peer.drop()
    for payload, interval in (("short", 10), ("long", 100)):
        options = {Property.MESSAGE_EXPIRY_INTERVAL: interval}
        gateway.tell("q", payload, properties=options)
        gateway.tell(f"kept/{payload}", payload, retain=True, properties=options)
    gateway.now += 40
    later = gateway.connect("c", clean=False)
    later.subscribe(Subscription("kept/+", 1))
    gateway.broker.send_retained(later.client, [Subscription("kept/+", 1)])
    left = {message.topic: message.properties for message in later.messages()}
    assert left == {topic: {Property.MESSAGE_EXPIRY_INTERVAL: 60} for topic in ("q", "kept/long")}
    gateway.now += 30
    gateway.tell("q", properties={Property.MESSAGE_EXPIRY_INTERVAL: 7})
    assert [message.properties for message in later.messages()] == [{Property.MESSAGE_EXPIRY_INTERVAL: 7}]


def test_what_made_room_for_newer_messages_is_counted_as_dropped(cold: ColdStore) -> None:
    with local(cold, Mqtt(queue_max_messages=3, queue_on_full="drop_oldest")) as gateway:
        peer = gateway.connect("away", expiry_s=600)
        peer.subscribe(Subscription("a/#", 1))
        peer.drop()
        for number in range(5):
            gateway.tell("a/b", str(number))
        assert gateway.broker.dropped == 2
        back = gateway.connect("away", clean=False)
        gateway.settle()
        assert back.payloads() == ["2", "3", "4"]
        back.drop()
        assert gateway.broker.dropped == 2


def test_subscriptions_of_a_client_are_bounded_and_one_that_is_replaced_is_no_more(cold: ColdStore) -> None:
    with local(cold, Mqtt(subscriptions_max=2)) as gateway:
        peer = gateway.connect("c")
        wanted = (Subscription("a", 1), Subscription("b", 1), Subscription("c", 1), Subscription("a", 0))
        assert peer.subscribe(*wanted) == (1, 1, Reason.QUOTA_EXCEEDED, 0)
        peer.unsubscribe("b")
        assert peer.subscribe(Subscription("c", 1)) == (1,)
