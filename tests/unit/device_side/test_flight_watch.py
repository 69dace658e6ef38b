"""The bound over what is in flight to all clients (`limits.inflight_bytes`): who holds the most forgets it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.device_side.cold import ColdStore
from bridge.device_side.flight_watch import FlightWatch
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.subscription import Subscription
from tests.unit.device_side.local import Local, Peer, local

KIB = 1 << 10


@pytest.fixture
def gateway(cold: ColdStore) -> Iterator[Local]:
    with local(cold) as made:
        yield made


def member(gateway: Local, name: str, qos: int = 1) -> Peer:
    peer = gateway.connect(name, expiry_s=600)
    peer.subscribe(Subscription(f"{name}/#", qos))
    peer.subscribe(Subscription("all", qos))
    return peer


def look(gateway: Local, most: int) -> None:
    FlightWatch(most, gateway.broker.clients).look()


def test_who_holds_the_most_forgets_it_and_nobody_else(gateway: Local) -> None:
    greedy, modest = member(gateway, "greedy"), member(gateway, "modest")
    for _ in range(10):
        gateway.tell("greedy/x", "x" * KIB)
    gateway.tell("modest/x", "x" * KIB)
    look(gateway, 12 * KIB)
    assert greedy.client.state.flight_bytes > 10 * KIB, "so far there is room"
    look(gateway, 8 * KIB)
    assert (greedy.client.state.flight_bytes, gateway.broker.dropped) == (0, 10)
    greedy.drop(), modest.drop()
    assert gateway.connect("greedy", clean=False, expiry_s=600).messages() == []
    assert len(gateway.connect("modest", clean=False, expiry_s=600).messages()) == 1


def test_one_message_to_many_counts_once(gateway: Local) -> None:
    peers = [member(gateway, name) for name in "abcd"]
    gateway.tell("all", "x" * KIB)
    look(gateway, 2 * KIB)
    assert [peer.client.state.flight_bytes for peer in peers] == [KIB + 3] * 4
    look(gateway, KIB)
    assert [peer.client.state.flight_bytes for peer in peers] == [0] * 4, "it is gone with the last who has it"


def test_who_acknowledges_after_all_goes_on(gateway: Local) -> None:
    """At QoS 2 too: the exchange is finished, and what comes then is sent."""
    peer = member(gateway, "c", 2)
    gateway.tell("c/x", "x" * KIB, qos=2)
    gateway.tell("c/x", "x" * KIB, qos=1)
    gateway.settle()
    exchange, single = peer.messages()
    look(gateway, KIB)
    peer.send(packets.Puback(single.packet_id), packets.Pubrec(exchange.packet_id))
    gateway.settle()
    assert peer.answers() == [packets.Pubrel(exchange.packet_id)]
    peer.send(packets.Pubcomp(exchange.packet_id))
    gateway.tell("c/x", "more")
    assert peer.payloads() == ["more"]
    assert peer.client.state.in_flight == {}


def test_what_waits_for_the_disk_to_be_repeated_is_not_said_any_more(gateway: Local) -> None:
    """Nor is what is left of it: an empty message that nobody published."""
    peer = member(gateway, "c", 2)
    for number in range(3):
        gateway.tell("c/x", str(number) * KIB, qos=2 - number % 2)
    peer.drop()
    back = gateway.connect("c", clean=False, expiry_s=600)
    look(gateway, KIB)
    gateway.settle()
    assert [packet for packet in back.answers() if isinstance(packet, Message)] == []
    assert all(item.released for item in back.client.state.in_flight.values())


def test_what_is_forgotten_goes_to_no_other_member_of_a_share(gateway: Local) -> None:
    one, two = (gateway.connect(name) for name in "ab")
    for peer in (one, two):
        peer.subscribe(Subscription("$share/g/x", 1))
    gateway.tell("x", "x" * KIB)
    assert len(one.messages()) == 1
    look(gateway, KIB)
    one.drop()
    assert two.messages() == []
