"""A publisher that subscribes to what it publishes: its answer comes before its copy, and a kill loses neither."""

from __future__ import annotations

import pytest

from bridge.device_side.cold import ColdStore
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.subscription import Subscription
from tests.unit.device_side.conftest import OpenStore
from tests.unit.device_side.local import Local, Peer, local


def enter(gateway: Local, name: str, qos: int, expiry_s: int) -> Peer:
    """Subscribed to everything under `a`."""
    peer = gateway.connect(name, expiry_s=expiry_s)
    peer.subscribe(Subscription("a/#", qos))
    return peer


def publish(gateway: Local, peer: Peer, qos: int, packet_id: int = 5) -> None:
    """As the daemon does when the message is durable."""
    (event,) = peer.send(Message("a/own", b"%d" % packet_id, qos, packet_id=packet_id))
    assert isinstance(event, Message)
    gateway.broker.tell(event, peer.client, lambda: peer.connection.acknowledge(event), in_log=True)


@pytest.mark.parametrize("neighbour", [None, 0, 600], ids=["alone", "with another", "with one that stays"])
@pytest.mark.parametrize("expiry_s", [0, 600])
@pytest.mark.parametrize("wanted", [0, 1, 2])
@pytest.mark.parametrize("qos", [1, 2])
def test_the_answer_comes_first(cold: ColdStore, qos: int, wanted: int, expiry_s: int, neighbour: int | None) -> None:
    with local(cold) as gateway:
        peer = enter(gateway, "c", wanted, expiry_s)
        if neighbour is not None:
            enter(gateway, "d", 1, neighbour)
        for packet_id in (5, 6):
            publish(gateway, peer, qos, packet_id)
        gateway.settle()
        answer = packets.Puback if qos == 1 else packets.Pubrec
        came = peer.answers()
        assert [packet.packet_id for packet in came if isinstance(packet, answer)] == [5, 6]
        copies = [packet for packet in came if isinstance(packet, Message)]
        assert [(copy.payload, copy.qos) for copy in copies] == [(b"5", min(qos, wanted)), (b"6", min(qos, wanted))]
        assert all(came.index(answer(int(copy.payload))) < came.index(copy) for copy in copies)


def test_what_was_answered_is_on_disk_for_the_publisher_too(cold: ColdStore, open_store: OpenStore) -> None:
    with local(cold) as gateway:
        peer = enter(gateway, "c", 1, 600)
        gateway.broker.keep(peer.client, lambda: None)
        publish(gateway, peer, 2)
        assert peer.answers() == [], "nothing before the disk has it"
        gateway.settle()
        assert [type(packet) for packet in peer.answers()] == [packets.Pubrec, Message]
    with local(open_store()) as after_kill:
        after_kill.broker.restore({"c": {5}})
        again = after_kill.connect("c", clean=False, expiry_s=600)
        assert [(copy.payload, copy.dup) for copy in again.messages()] == [(b"5", True)]


def test_who_left_before_its_answer_gets_no_copy(cold: ColdStore) -> None:
    with local(cold) as gateway:
        peer = enter(gateway, "c", 1, 0)
        stays = enter(gateway, "d", 1, 600)
        publish(gateway, peer, 1)
        peer.drop()
        gateway.settle()
        assert peer.client.state.in_flight == {}
        assert gateway.broker.queue_room.bytes == 0
        assert stays.payloads() == ["5"]


@pytest.mark.mqtt("MQTT-4.6.0-2", "MQTT-4.6.0-5")
def test_what_needs_not_wait_for_the_disk_does_not_overtake_what_does(cold: ColdStore) -> None:
    """Answers and copies come in the order of what was published."""
    with local(cold) as gateway:
        peer = enter(gateway, "c", 1, 0)
        for packet_id in (5, 6, 7):
            message = Message("a/own", b"%d" % packet_id, 1, retain=packet_id == 5, packet_id=packet_id)
            (event,) = peer.send(message)
            assert isinstance(event, Message)
            gateway.broker.tell(event, peer.client, lambda event=event: peer.connection.acknowledge(event), in_log=True)
        gateway.settle()
        came = peer.answers()
        assert [packet.packet_id for packet in came if isinstance(packet, packets.Puback)] == [5, 6, 7]
        assert [packet.payload for packet in came if isinstance(packet, Message)] == [b"5", b"6", b"7"]
        publish(gateway, peer, 1, 8)
        assert [type(packet) for packet in peer.answers()] == [packets.Puback, Message], "nothing is waited for now"
