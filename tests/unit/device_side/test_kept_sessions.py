"""Sessions over a restart: subscriptions, what waits, what was begun, and clocks that run on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.config import Mqtt
from bridge.device_side.cold import ColdStore
from bridge.device_side.kept_sessions import KeptSessions
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.properties import Property
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription
from tests.unit.device_side.conftest import OpenStore
from tests.unit.device_side.local import Local, local

ALL = Subscription("a/#", 2, identifiers=(7,))


@pytest.fixture
def restarted(open_store: OpenStore) -> Callable[[ColdStore], Local]:
    """What the next daemon finds when this store's has stopped."""

    def restart(store: ColdStore) -> Local:
        store.close()
        with local(open_store(), Mqtt(inflight_max=2)) as made:
            assert made.broker.restore({}) == []
            return made

    return restart


def stay(gateway: Local, name: str = "c") -> None:
    """A session that waits, with two messages in flight at each QoS, a release and a queue."""
    peer = gateway.connect(name, expiry_s=600)
    peer.subscribe(Subscription("a/#", 2), identifier=7)
    for number, qos in enumerate((2, 2, 1, 2)):
        gateway.tell("a/b", str(number), qos, properties={Property.CONTENT_TYPE: "text"})
    peer.send(packets.Pubrec(2))
    peer.drop()
    gateway.tell("a/c", "4", 1)


def test_a_restart_finds_what_waits_and_what_was_begun(
    open_store: OpenStore, restarted: Callable[[ColdStore], Local]
) -> None:
    store = open_store()
    with local(store, Mqtt(inflight_max=2)) as gateway:
        stay(gateway)
        gateway.broker.keep_messages()
    peer = restarted(store).connect("c", clean=False)
    assert isinstance(peer.connack, packets.Connack)
    assert peer.connack.session_present
    release, repeated = peer.answers()
    options = {Property.CONTENT_TYPE: "text", Property.SUBSCRIPTION_IDENTIFIER: [7]}
    assert release == packets.Pubrel(2)
    assert repeated == Message("a/b", b"0", 2, False, True, 1, options)
    peer.send(packets.Pubcomp(2), packets.Pubrec(1), packets.Pubcomp(1))
    rest = peer.answers()
    assert [(m.payload, m.qos, m.dup) for m in rest if isinstance(m, Message)] == [(b"2", 1, False), (b"3", 2, False)]


def test_what_was_finished_does_not_come_back(open_store: OpenStore, restarted: Callable[[ColdStore], Local]) -> None:
    store = open_store()
    with local(store, Mqtt(inflight_max=2)) as gateway:
        stay(gateway)
        gateway.broker.keep_messages()
        back = gateway.connect("c", clean=False, expiry_s=600)
        back.send(packets.Pubcomp(2), packets.Pubrec(1), packets.Pubcomp(1))
        assert back.payloads()[-1] == "4"
        back.unsubscribe("a/#")
        back.drop()
        gateway.broker.keep_messages()
    again = restarted(store)
    assert [item.message.payload for item in again.connect("c", clean=False).client.state.in_flight.values()] == [b"3"]
    assert again.broker.subscriptions.match("a/b") == []


def test_what_is_acknowledged_at_once_is_never_written(open_store: OpenStore) -> None:
    store = open_store()
    with local(store) as gateway:
        peer = gateway.connect("c", expiry_s=600)
        peer.subscribe(ALL)
        peer.drop()
        peer = gateway.connect("c", clean=False, expiry_s=600)
        for number in range(100):
            gateway.tell("a/b", str(number))
            assert peer.payloads() == [str(number)]
        gateway.broker.keep_messages()
    store.close()
    assert list(open_store().load("queues")) == []


def test_the_end_of_a_session_takes_its_messages_off_the_disk(open_store: OpenStore) -> None:
    store = open_store()
    with local(store, Mqtt(inflight_max=2)) as gateway:
        stay(gateway)
        stay(gateway, "d")
        gateway.broker.keep_messages()
        gateway.connect("c", clean=True)
        gateway.now += 601
        assert gateway.broker.expire() == ["d"]
        gateway.broker.keep_messages()
    store.close()
    later = open_store()
    assert list(later.load("sessions")) == list(later.load("queues")) == []


def test_clocks_run_on_over_a_restart(open_store: OpenStore) -> None:
    """Of the session's expiry (from the connection's end), and of each message's."""
    store = open_store()
    kept = KeptSessions(store, Mqtt(), lambda: 5000.0, lambda: 1e6)
    for name, gone in (("alone", True), ("connected", False)):
        state = SessionState(name, 5, 600, Mqtt())
        kept.store(state, gone=gone)
        state.enqueue(Message("t", b"x", 1), ALL, 5000.0, expires=5100.0)
    kept.write_messages()
    store.close()
    later = KeptSessions(open_store(), Mqtt(), lambda: 50.0, lambda: 1e6 + 30)
    found = {state.client_id: (since, state.queue[0].expires) for state, since in later.load()}
    assert found == {"alone": (20.0, 120.0), "connected": (50.0, 120.0)}


def test_a_session_that_goes_on_is_not_alone_any_more(open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store()
    with local(store) as gateway:
        gateway.connect("c", expiry_s=600).drop()
        gateway.connect("c", clean=False, expiry_s=600)
    store.close()
    later = KeptSessions(open_store(), Mqtt(), lambda: 50.0, lambda: 1e12)
    assert [since for _, since in later.load()] == [50.0]
