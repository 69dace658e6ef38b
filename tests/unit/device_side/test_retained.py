"""Retained messages: what is kept, its bounds, a restart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import Limits
from bridge.device_side.cold import ColdStore, Table
from bridge.device_side.long_clock import LongClock
from bridge.device_side.retained import Retained
from bridge.message import Message
from bridge.mqtt.properties import Property
from bridge.mqtt.topics import is_valid_filter, matches
from tests.unit.device_side.clocks import RIGHT_S, HandClock, long_clock
from tests.unit.device_side.conftest import OpenStore

ROOMY = Limits()


class NoStore(ColdStore):
    """A store that keeps nothing: the edge of a property test that would else write thousands of files."""

    def __init__(self) -> None:
        pass

    def load(self, table: Table) -> Iterator[tuple[str, bytes]]:
        return iter(())

    def get(self, table: Table, key: str) -> bytes | None:
        return None

    def write(self, table: Table, key: str, value: bytes | None) -> None:
        pass

    def put(self, table: Table, key: str, value: bytes | None) -> None:
        pass


STILL = long_clock(NoStore())


def kept(retained: Retained, topic_filter: str = "#") -> dict[str, bytes]:
    return {message.topic: message.payload for message in retained.matching(topic_filter)}


def test_the_last_message_of_a_topic_is_kept(cold: ColdStore) -> None:
    retained = Retained(cold, ROOMY, STILL)
    assert retained.store(Message("a", b"1", retain=True))
    assert retained.store(Message("a", b"2", retain=True))
    assert kept(retained) == {"a": b"2"}


def test_an_empty_payload_forgets(cold: ColdStore) -> None:
    retained = Retained(cold, ROOMY, STILL)
    retained.store(Message("a", b"1", retain=True))
    assert retained.store(Message("a", b"", retain=True))
    assert retained.store(Message("never there", b"", retain=True))
    assert kept(retained) == {}


def test_a_restart_keeps_messages_with_their_properties_and_what_was_forgotten_stays_so(open_store: OpenStore) -> None:
    properties: dict[int, object] = {
        Property.CONTENT_TYPE: "text/plain",
        Property.CORRELATION_DATA: b"\x00\xff",
        Property.USER_PROPERTY: [("name", "value"), ("name", "other")],
    }
    store = open_store()
    retained = Retained(store, ROOMY, STILL)
    retained.store(Message("a", b"\x00\xff", 2, retain=True, properties=properties))
    retained.store(Message("b", b"gone soon", retain=True))
    retained.store(Message("b", b"", retain=True))
    store.close()
    [message] = Retained(open_store(), ROOMY, STILL).matching("#")
    assert (message.topic, message.payload, message.qos, message.retain) == ("a", b"\x00\xff", 2, True)
    assert message.properties is not None
    pairs = message.properties[Property.USER_PROPERTY]
    assert isinstance(pairs, list)
    assert [tuple(pair) for pair in pairs] == [("name", "value"), ("name", "other")]
    assert message.properties[Property.CORRELATION_DATA] == b"\x00\xff"


def test_the_number_of_topics_is_bounded_and_known_ones_still_change(cold: ColdStore) -> None:
    retained = Retained(cold, Limits(retained=2), STILL)
    assert [retained.store(Message(topic, b"1")) for topic in "abc"] == [True, True, False]
    assert retained.store(Message("a", b"2"))
    retained.store(Message("b", b""))
    assert retained.store(Message("c", b"3"))
    assert kept(retained) == {"a": b"2", "c": b"3"}


def test_a_message_there_is_no_room_for_leaves_no_older_one_in_its_place(cold: ColdStore) -> None:
    retained = Retained(cold, Limits(retained_bytes=20), STILL)
    assert retained.store(Message("a", b"old"))
    assert not retained.store(Message("a", bytes(20)))
    assert kept(retained) == {}
    assert retained.store(Message("b", bytes(19)))


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9)), max_size=40))
def test_the_bytes_never_exceed_their_bound_and_are_all_usable(messages: list[tuple[str, int]]) -> None:
    retained = Retained(NoStore(), Limits(retained_bytes=16), STILL)
    for topic, size in messages:
        before = kept(retained)
        others = sum(len(payload) + 1 for name, payload in before.items() if name != topic)
        took = retained.store(Message(topic, bytes(size)))
        assert took == (size == 0 or others + size + 1 <= 16)
        assert kept(retained).get(topic) == (bytes(size) if took and size else None)


def test_properties_count(cold: ColdStore) -> None:
    """Else a hundred thousand messages of one byte could hold as many megabytes."""
    retained = Retained(cold, Limits(retained_bytes=10_000), STILL)
    pairs: dict[int, object] = {Property.USER_PROPERTY: [("n", "v" * 1000)] * 4}
    assert [retained.store(Message(topic, b"1", properties=pairs)) for topic in "abc"] == [True, True, False]
    assert retained.stored_bytes <= 10_000
    for topic in "ab":
        retained.store(Message(topic, b""))
    assert retained.stored_bytes == 0


def expiring(topic: str, interval_s: int) -> Message:
    return Message(topic, b"x", retain=True, properties={Property.MESSAGE_EXPIRY_INTERVAL: interval_s})


@pytest.mark.mqtt("MQTT-3.3.2-5")
def test_what_has_expired_is_sent_to_nobody_and_then_forgotten(cold: ColdStore) -> None:
    """[MQTT-3.3.2-5]."""
    now = [100.0]
    retained = Retained(cold, Limits(retained=3), STILL, lambda: now[0])
    for topic, interval_s in (("a", 5), ("a", 50), ("b", 10), ("c", 20)):
        retained.store(expiring(topic, interval_s))
    assert (retained.expires("a"), retained.expires("b")) == (150.0, 110.0)
    now[0] = 110.0
    assert set(kept(retained)) == {"a", "c"}
    assert kept(retained, "b") == {}
    assert not retained.store(Message("d", b"x"))
    retained.expire()
    assert retained.store(Message("d", b"x"))
    retained.store(Message("a", b"for ever", retain=True))
    now[0] = 1e9
    assert set(kept(retained)) == {"a", "d"}


def test_time_runs_on_while_the_daemon_does_not(open_store: OpenStore) -> None:
    """The loop's clock begins anew with the machine, the wall's goes on."""
    store = open_store()
    retained = Retained(store, ROOMY, long_clock(store), lambda: 5000.0)
    retained.store(expiring("long", 100))
    retained.store(expiring("short", 10))
    store.close()
    again = open_store()
    booted = HandClock(3.0, wall=RIGHT_S + 30, boot=2)
    later = Retained(again, ROOMY, LongClock(booted, again), lambda: 3.0)
    assert set(kept(later)) == {"long"}
    assert later.expires("long") == 73.0


TOPICS = st.lists(st.sampled_from(["a", "b", "$x"]), min_size=1, max_size=3).map("/".join)
FILTERS = st.lists(st.sampled_from(["a", "b", "$x", "+", "#"]), min_size=1, max_size=3).map("/".join)


@given(st.sets(TOPICS), FILTERS.filter(is_valid_filter))
def test_a_filter_finds_what_it_matches(topics: set[str], topic_filter: str) -> None:
    retained = Retained(NoStore(), ROOMY, STILL)
    for topic in topics:
        retained.store(Message(topic, b"x"))
    assert set(kept(retained, topic_filter)) == {topic for topic in topics if matches(topic_filter, topic)}


def test_a_hundred_thousand_are_there_after_a_restart(open_store: OpenStore) -> None:
    store = open_store()
    retained = Retained(store, ROOMY, STILL)
    for number in range(100_000):
        retained.store(Message(f"site/{number % 100}/device/{number}/state", b'{"on": true}', 1, retain=True))
    store.close()
    again = Retained(open_store(), ROOMY, STILL)
    assert len(again) == 100_000
    assert len(kept(again, "site/7/device/+/state")) == 1000
    assert kept(again, "site/7/device/4207/#") == {"site/7/device/4207/state": b'{"on": true}'}
    assert len(kept(again)) == 100_000
