"""Sessions over a restart: subscriptions, what waits, what was begun, and clocks that run on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.config import Mqtt
from bridge.device_side.cold import ColdStore
from bridge.device_side.kept_sessions import KeptSessions
from bridge.device_side.long_clock import LongClock
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.properties import Property
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription
from tests.unit.device_side.clocks import RIGHT_S, HandClock
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


def kept_sessions(store: ColdStore, now: float, *, boot: int = 1, off_s: float = 0.0) -> KeptSessions:
    """In that boot of the machine, before which it was off for so long."""
    long = LongClock(HandClock(now, wall=RIGHT_S + off_s, boot=boot), store)
    return KeptSessions(store, Mqtt(), lambda: now, lambda _: None, lambda _: None, long)


def stay(gateway: Local, name: str = "c") -> None:
    """A session that waits, with two messages in flight at each QoS, a release and a queue."""
    peer = gateway.connect(name, expiry_s=600)
    peer.subscribe(Subscription("a/#", 2), identifier=7)
    for number, qos in enumerate((2, 2, 1, 2)):
        gateway.tell("a/b", str(number), qos, properties={Property.CONTENT_TYPE: "text"})
    gateway.settle()
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
        gateway.settle()
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
    kept = kept_sessions(store, 5000.0)
    for name, gone in (("alone", True), ("connected", False)):
        state = SessionState(name, 5, 600, Mqtt())
        kept.store(state, gone=gone)
        state.enqueue(Message("t", b"x", 1), ALL, 5000.0, expires=5100.0)
    kept.write_messages()
    store.close()
    later = kept_sessions(open_store(), 50.0, boot=2, off_s=30)
    found = {state.name: (since, state.queue[0].expires) for state, since in later.load()}
    assert found == {"alone": (20.0, 120.0), "connected": (50.0, 120.0)}


def test_a_session_that_goes_on_is_not_alone_any_more(open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store()
    with local(store) as gateway:
        gateway.connect("c", expiry_s=600).drop()
        gateway.connect("c", clean=False, expiry_s=600)
    store.close()
    later = kept_sessions(open_store(), 50.0, boot=2, off_s=1e9)
    assert [since for _, since in later.load()] == [50.0]


def test_a_publisher_has_its_answer_when_sessions_that_stay_have_the_message_on_disk(
    cold: ColdStore, open_store: OpenStore
) -> None:
    with local(cold) as gateway:
        gateway.connect("c", expiry_s=600).subscribe(ALL)
        by = gateway.connect("by").client
        answered: list[str] = []
        gateway.broker.tell(Message("a/b", b"1", 1), by, lambda: answered.append("1"), in_log=True)
        gateway.broker.tell(Message("a/b", b"2", 1), by, lambda: answered.append("2"), in_log=True)
        assert answered == []
        gateway.settle()
        assert answered == ["1", "2"]
        assert len(list(open_store().load("queues"))) == 2


def test_who_publishes_for_nobody_that_stays_waits_for_nothing(cold: ColdStore) -> None:
    with local(cold) as gateway:
        gateway.connect("c").subscribe(ALL)
        gateway.connect("d", expiry_s=600).subscribe(Subscription("a/#", 0))
        answered: list[bool] = []
        gateway.broker.tell(
            Message("a/b", b"", 2), gateway.connect("by").client, lambda: answered.append(True), in_log=False
        )
        assert answered == [True]
        assert gateway.run_soon() == 0


def test_a_retained_message_is_on_disk_before_its_publisher_has_its_answer(
    cold: ColdStore, open_store: OpenStore
) -> None:
    with local(cold) as gateway:
        answered: list[bool] = []
        message = Message("a/b", b"x", 1, retain=True)
        gateway.broker.tell(message, gateway.connect("by").client, lambda: answered.append(True), in_log=False)
        assert answered == []
        gateway.settle()
        assert answered == [True]
        assert [topic for topic, _ in open_store().load("retained")] == ["a/b"]


def test_each_step_of_a_qos_2_exchange_is_on_disk_before_it_is_said(cold: ColdStore, open_store: OpenStore) -> None:
    with local(cold) as gateway:
        peer = gateway.connect("c", expiry_s=600)
        peer.subscribe(ALL)
        gateway.tell("a/b", "1", 2)
        gateway.tell("a/b", "2", 1)
        assert peer.answers() == []
        gateway.settle()
        assert [(m.payload, m.qos, m.packet_id, m.dup) for m in peer.messages()] == [
            (b"1", 2, 1, False),
            (b"2", 1, 2, False),
        ]
        peer.send(packets.Pubrec(1))
        assert peer.answers() == []
        gateway.settle()
        assert peer.answers() == [packets.Pubrel(1)]
        # Killed now, the next daemon repeats the release and the QoS 1 message.
        with local(open_store()) as after_kill:
            after_kill.broker.restore({})
            back = after_kill.connect("c", clean=False, expiry_s=600).answers()
            assert back[0] == packets.Pubrel(1)
            assert [(m.payload, m.dup) for m in back[1:] if isinstance(m, Message)] == [(b"2", True)]


def test_what_was_not_yet_said_is_begun_on_the_next_connection(cold: ColdStore) -> None:
    with local(cold) as gateway:
        peer = gateway.connect("c", expiry_s=600)
        peer.subscribe(ALL)
        gateway.tell("a/b", "1", 2)
        peer.drop()
        peer = gateway.connect("c", clean=False, expiry_s=600)
        assert peer.answers() == []
        gateway.settle()
        assert [(m.payload, m.packet_id) for m in peer.messages()] == [(b"1", 1)]


def test_a_message_too_large_for_the_client_makes_room_for_those_behind_it(cold: ColdStore) -> None:
    with local(cold, Mqtt(inflight_max=1)) as gateway:
        peer = gateway.connect("c", expiry_s=600, properties={Property.MAXIMUM_PACKET_SIZE: 100})
        peer.subscribe(ALL)
        gateway.tell("a/b", "x" * 200, 2)
        gateway.tell("a/b", "short", 2)
        gateway.settle()
        assert [m.payload for m in peer.messages()] == [b"short"]


def test_what_a_share_hands_over_is_with_one_member_at_any_moment(cold: ColdStore, open_store: OpenStore) -> None:
    with local(cold) as gateway:
        peers = {name: gateway.connect(name, expiry_s=600) for name in "cd"}
        for peer in peers.values():
            peer.subscribe(Subscription("$share/s/a/#", 2))
            peer.drop()
        for number in range(4):
            gateway.tell("a/b", str(number), 2)
        gateway.broker.keep_messages()
        gateway.connect("c", clean=True)
        gateway.settle()
    with local(open_store()) as after_kill:
        after_kill.broker.restore({})
        (state,) = [client.state for client in after_kill.broker.clients.values()]
        assert sorted(item.message.payload for item in state.queue) == [b"0", b"1", b"2", b"3"]
