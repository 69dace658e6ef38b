"""The bound over all sessions' queues: it holds, its books are right, and who holds the most gives way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt.queue_room import QueueRoom
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription

EACH = 256
"""What a message is counted with beside its size."""
ROOM = 4096
TO = Subscription("t", 1)
KEEP_OLDEST, KEEP_NEWEST = Mqtt(), Mqtt(queue_on_full="drop_oldest")

steps = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["put", "put", "put", "take", "close"]), st.integers(0, 900)),
    max_size=60,
)


def held(state: SessionState) -> int:
    return sum(item.size + EACH for item in state.queue)


def put(state: SessionState, size: int, fill: bytes = b"x") -> bool:
    return state.enqueue(Message("t", fill * size, 1), TO, 0.0)


@given(steps)
def test_the_bound_holds_and_the_books_are_right(plan: list[tuple[int, str, int]]) -> None:
    room = QueueRoom(ROOM)
    states = [SessionState(str(number), 5, 60, (KEEP_OLDEST, KEEP_NEWEST)[number % 2], room) for number in range(4)]
    for number, step, size in plan:
        state, before = states[number], [held(each) for each in states]
        if step == "put":
            put(state, size)
            gave = [was for each, was in zip(states, before, strict=True) if each is not state and held(each) < was]
            # Each that gave was among those with the most at that moment, none of whom has grown since.
            assert all(2 * was > held(each) for was in gave for each in states if each is not state)
        elif step == "take" and state.queue:
            state.take()
        elif step == "close":
            state.close()
        assert room.bytes == sum(map(held, states)) <= ROOM
        assert [each.queue_bytes for each in states] == [sum(item.size for item in each.queue) for each in states]


def test_who_collects_much_makes_room_for_who_waits_for_little() -> None:
    room = QueueRoom(ROOM)
    much, little = (SessionState(name, 5, 60, KEEP_OLDEST, room) for name in ("much", "little"))
    for number in range(10):
        put(much, 99, b"%d" % number)
    assert put(little, 999)
    assert put(little, 99)
    assert len(little.queue) == 2
    assert much.displaced == much.dropped > 0
    assert [item.message.payload[:1] for item in much.queue] == [b"%d" % number for number in range(len(much.queue))]
    assert len(much.queue) < 10


def test_the_policy_says_what_goes() -> None:
    """The one that comes, or the oldest."""
    for limits, expected in ((KEEP_OLDEST, b"0123456789"), (KEEP_NEWEST, b"23456789ab")):
        state = SessionState("c", 5, 60, limits, QueueRoom(10 * (EACH + 2)))
        for letter in b"0123456789ab":
            put(state, 1, bytes([letter]))
        assert b"".join(item.message.payload for item in state.queue) == expected
        assert state.dropped == 2


def test_what_is_larger_than_all_displaces_nothing() -> None:
    room = QueueRoom(ROOM)
    state = SessionState("c", 5, 60, KEEP_NEWEST, room)
    assert put(state, 10)
    assert not put(state, ROOM)
    assert len(state.queue) == 1


def test_properties_count() -> None:
    """Else a message of one byte with a megabyte of user properties would cost nothing."""
    pairs = [("n" * 10, "v" * 90)] * 10
    message = Message("t", b"x", properties={0x26: pairs, 0x08: "u" * 50, 0x09: b"c" * 50, 0x02: 1})
    assert message.size >= 2 + 10 * 100 + 100
    assert Message("t", b"x", properties={0x26: [("", "")] * 1000}).size > 64_000
