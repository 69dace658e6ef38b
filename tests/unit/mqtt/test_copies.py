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


SUBSCRIPTIONS = st.builds(
    lambda qos, keeps, identifiers: Subscription("#", qos, retain_as_published=keeps, identifiers=tuple(identifiers)),
    st.integers(0, 2),
    st.booleans(),
    st.lists(st.integers(1, 300), max_size=2),
)


@given(
    st.integers(0, 2),
    st.booleans(),
    st.none() | st.just(50.0),
    st.lists(st.tuples(SUBSCRIPTIONS, st.sampled_from([3, 4, 5]), st.sampled_from([0, 1, 30])), max_size=8),
)
def test_what_sessions_say_is_the_same_with_copies_and_without(
    qos: int, retain: bool, expires: float | None, wanted: list[tuple[Subscription, int, int]]
) -> None:
    """Whatever differs from client to client: version, aliases, the largest packet."""
    message = Message("a/topic", b"payload", qos, retain, properties={Property.CONTENT_TYPE: "text"})
    copies = Copies()
    for subscription, version, limit in wanted:
        options = {1: {Property.TOPIC_ALIAS_MAXIMUM: 1}, 30: {Property.MAXIMUM_PACKET_SIZE: 30}}.get(limit, {})
        said = []
        for given_copies in (copies, None):
            link = Link(version).connect(properties=options if version == 5 else {})
            link.answers()
            for _ in range(2):
                taken = link.session.deliver(message, subscription, expires=expires, copies=given_copies)
                said.append((taken, link.session.take_output(), link.state.dropped, link.session.output_bytes))
        assert said[:2] == said[2:]
