"""QoS 2 publications over a kill: sessions that stay have each once, whatever the publisher repeats."""

from __future__ import annotations

from bridge.device_side.cold import ColdStore
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.events import Repeated
from bridge.mqtt.subscription import Subscription
from tests.unit.device_side.conftest import OpenStore
from tests.unit.device_side.local import Local, Peer, local

SAID = Message("a/b", b"once", 2, packet_id=5)
AGAIN = Message("a/b", b"once", 2, dup=True, packet_id=5)


def before_the_kill(gateway: Local, *, in_log: bool) -> Peer:
    """A session that stays and is away has the message, and its publisher, whose session stays too, its PUBREC."""
    listener = gateway.connect("listener", expiry_s=600)
    listener.subscribe(Subscription("a/#", 2))
    listener.drop()
    talker = gateway.connect("talker", expiry_s=600)
    assert talker.send(SAID) == [SAID]
    gateway.broker.tell(SAID, talker.client, lambda: talker.connection.session.acknowledge(SAID), in_log=in_log)
    gateway.settle()
    assert talker.answers() == [packets.Pubrec(5)]
    return talker


def waiting(gateway: Local) -> list[bytes]:
    return [item.message.payload for item in gateway.broker.clients["listener"].state.queue]


def test_a_repetition_is_answered_and_not_told_again(cold: ColdStore, open_store: OpenStore) -> None:
    for in_log in (True, False):
        with local(cold) as gateway:
            before_the_kill(gateway, in_log=in_log)
        with local(open_store()) as after_kill:
            after_kill.broker.restore({"talker": {5}} if in_log else {})
            talker = after_kill.connect("talker", clean=False, expiry_s=600)
            assert talker.send(AGAIN) == []
            assert talker.answers() == [packets.Pubrec(5)]
            assert waiting(after_kill) == [b"once"]
            after_kill.connect("talker")
            after_kill.connect("listener")
            after_kill.settle()


def test_what_the_log_has_and_the_store_has_not_is_told_when_it_is_repeated(
    cold: ColdStore, open_store: OpenStore
) -> None:
    with local(cold) as gateway:
        listener = gateway.connect("listener", expiry_s=600)
        listener.subscribe(Subscription("a/#", 2))
        gateway.broker.keep(listener.client, lambda: None)
        talker = gateway.connect("talker", expiry_s=600)
        gateway.broker.keep(talker.client, lambda: None)
        gateway.broker.when_kept(lambda: None)
        gateway.settle()
    with local(open_store()) as after_kill:
        assert after_kill.broker.restore({"talker": {5}}) == []
        talker = after_kill.connect("talker", clean=False, expiry_s=600)
        (event,) = talker.send(AGAIN)
        assert event == Repeated(AGAIN)
        assert talker.send(AGAIN) == []  # it is being told
        session = talker.connection.session
        after_kill.broker.tell(AGAIN, talker.client, lambda: session.acknowledge(AGAIN), in_log=True)
        after_kill.settle()
        assert talker.answers() == [packets.Pubrec(5)]
        assert waiting(after_kill) == [b"once"]


def test_what_has_ended_makes_room_for_the_next_message_with_its_packet_identifier(
    cold: ColdStore, open_store: OpenStore
) -> None:
    with local(cold) as gateway:
        before_the_kill(gateway, in_log=False)
        ended: list[bool] = []
        gateway.broker.exchanges.ended("talker", 5, lambda: ended.append(True))
        assert ended == []
        gateway.settle()
        assert ended == [True]
        assert not gateway.broker.exchanges.is_told("talker", 5)
    with local(open_store()) as after_kill:
        after_kill.broker.restore({})
        talker = after_kill.connect("talker", clean=False, expiry_s=600)
        assert talker.send(SAID) == [SAID]


def test_one_whose_end_is_in_the_log_is_off_the_disk_after_the_start(cold: ColdStore, open_store: OpenStore) -> None:
    with local(cold) as gateway:
        before_the_kill(gateway, in_log=True)
    later = open_store()
    with local(later) as after_kill:
        after_kill.broker.restore({})
        assert list(later.load("exchanges")) == []
        assert after_kill.connect("talker", clean=False, expiry_s=600).send(SAID) == [SAID]


def test_they_end_with_their_session(cold: ColdStore, open_store: OpenStore) -> None:
    with local(cold) as gateway:
        before_the_kill(gateway, in_log=False)
        gateway.connect("talker", clean=True, expiry_s=600)
        assert not gateway.broker.exchanges.is_told("talker", 5)
        gateway.settle()
        assert list(open_store().load("exchanges")) == []
