"""A packet taken from the copies is the one that would have been encoded for its client alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.message import Message
from bridge.mqtt.copies import Copies, publish
from bridge.mqtt.properties import Property
from bridge.mqtt.session_state import Outgoing
from bridge.mqtt.subscription import Subscription
from tests.unit.mqtt.support import Link

ITEMS = st.builds(
    lambda qos, retain, identifiers, packet_id: (qos, retain, tuple(identifiers), packet_id if qos else 0),
    st.integers(0, 2),
    st.booleans(),
    st.lists(st.integers(1, 300), max_size=2),
    st.integers(1, 0xFFFF),
)


@given(
    st.text("aé", min_size=1, max_size=200),
    st.binary(max_size=300),
    st.lists(st.tuples(ITEMS, st.sampled_from([3, 4, 5]), st.none() | st.integers(0, 9)), max_size=8),
)
def test_every_copy_is_as_if_encoded_alone(
    topic: str, payload: bytes, wanted: list[tuple[tuple[int, bool, tuple[int, ...], int], int, int | None]]
) -> None:
    message = Message(topic, payload, 2, properties={Property.CONTENT_TYPE: "text"})
    copies = Copies()
    for (qos, retain, identifiers, packet_id), version, left_s in wanted:
        item = Outgoing(message, qos, retain, identifiers, packet_id)
        assert copies.packet(item, version, left_s) == publish(item, version, left_s)


@pytest.mark.parametrize("size", [100, 200, 20_000, 3_000_000])
def test_every_length_of_the_remaining_length(size: int) -> None:
    copies, message = Copies(), Message("t", bytes(size), 1)
    first, second = (copies.packet(Outgoing(message, 1, False, (), number), 5, None) for number in (1, 0x1234))
    assert len(first) == len(second)
    assert second == publish(Outgoing(message, 1, False, (), 0x1234), 5, None)


def test_sessions_share_them_and_keep_their_own_packet_ids() -> None:
    links = [Link(5).connect() for _ in range(3)]
    copies, message = Copies(), Message("t", b"x", 1)
    links[1].session.deliver(message, Subscription("#", 1))
    sent = []
    for link in links:
        link.answers()
        link.session.deliver(message, Subscription("#", 1), copies=copies)
        sent += link.answers()
    assert sent == [Message("t", b"x", 1, packet_id=number) for number in (1, 2, 1)]
