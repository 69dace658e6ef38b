"""The bound over the queues of all sessions (`limits.session_queues_bytes`), as clients and the figures see it."""

from __future__ import annotations

from bridge.config import Limits
from bridge.device_side.cold import ColdStore
from bridge.mqtt.subscription import Subscription
from tests.unit.device_side.conftest import OpenStore
from tests.unit.device_side.local import Local, local

ROOM = 10 * (256 + 101)
"""For ten messages of 100 bytes."""


def leave(gateway: Local, name: str, topic_filter: str) -> None:
    """A session that stays."""
    peer = gateway.connect(name, expiry_s=600)
    peer.subscribe(Subscription(topic_filter, 1))
    peer.drop()


def fill(gateway: Local) -> None:
    """`much` has collected until nothing more fits, and something comes for `little`."""
    leave(gateway, "much", "m")
    leave(gateway, "little", "l")
    for number in range(12):
        gateway.tell("m", f"{number:<100}")
    gateway.tell("l", " " * 100)


def payloads(gateway: Local, name: str) -> list[str]:
    return [item.message.payload.decode().strip() for item in gateway.broker.clients[name].state.queue]


def test_one_that_collects_costs_itself_and_is_counted(cold: ColdStore) -> None:
    with local(cold, limits=Limits(session_queues_bytes=ROOM)) as gateway:
        fill(gateway)
        assert payloads(gateway, "much") == [str(number) for number in range(9)]
        assert payloads(gateway, "little") == [""]
        assert gateway.broker.dropped == 3
        assert gateway.broker.queue_room.bytes == ROOM


def test_a_session_that_is_over_or_taken_up_gives_its_room_back(cold: ColdStore) -> None:
    with local(cold, limits=Limits(session_queues_bytes=ROOM)) as gateway:
        fill(gateway)
        assert len(gateway.connect("little", clean=False, expiry_s=600).payloads()) == 1
        assert gateway.broker.queue_room.bytes == 9 * (256 + 101)
        gateway.now += 601
        assert gateway.broker.expire() == ["much"]
        assert gateway.broker.queue_room.bytes == 0


def test_it_holds_after_a_restart_and_what_gave_way_stays_away(open_store: OpenStore) -> None:
    store = open_store()
    with local(store, limits=Limits(session_queues_bytes=ROOM)) as gateway:
        fill(gateway)
        gateway.broker.keep_messages()
    for room, left in ((ROOM, 9), (ROOM // 2, 4), (ROOM, 4)):
        store.close()
        store = open_store()
        with local(store, limits=Limits(session_queues_bytes=room)) as gateway:
            gateway.broker.restore({})
            gateway.broker.keep_messages()
            assert payloads(gateway, "much") == [str(number) for number in range(left)]
            assert payloads(gateway, "little") == [""]
            assert gateway.broker.queue_room.bytes <= room
