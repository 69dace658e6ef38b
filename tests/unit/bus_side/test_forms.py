"""What a route says about its records: key and partition."""

from __future__ import annotations

import pytest

from bridge.bus_side.fill import LooseLot
from bridge.bus_side.forms import NO_ROUTES, PLAIN, Forms, by_of, key_of
from bridge.bus_side.topics import Topic
from bridge.config import Route

TOPIC = "devices/dev-1/telemetry/temperature"


@pytest.mark.parametrize(
    ("key", "partition", "expected_key", "expected_by"),
    [
        ("device", "key", b"dev-1", b"dev-1"),
        ("{4}", "key", b"temperature", b"temperature"),
        ("{4}", "device", b"temperature", b"dev-1"),
        ("none", "key", b"", b"dev-1"),
        ("{5}", "key", b"", b"dev-1"),
        ("device", "7", b"dev-1", 7),
        ("none", "any", b"", None),
    ],
)
def test_key_and_what_decides_the_partition(key, partition, expected_key, expected_by):
    route = Route("#", "t", key=key, partition=partition)
    found = key_of(route, "dev-1", TOPIC)
    assert (found, by_of(route, "dev-1", found)) == (expected_key, expected_by)


def test_an_empty_level_is_no_key():
    assert key_of(Route("#", "t", key="{2}"), "dev-1", "devices//t") == b""


def test_the_first_route_to_the_records_own_topic_says_its_form():
    elsewhere, wanted, later = Route("#", "a", key="none"), Route("devices/#", "b", key="{1}"), Route("#", "b")
    forms = Forms([elsewhere, wanted, later])
    assert forms.of("dev-1", TOPIC, "b") is wanted
    assert forms.of("dev-1", "x", "b") is later
    assert forms.of("dev-1", TOPIC, "gone from the configuration") is PLAIN
    assert NO_ROUTES.of("dev-1", TOPIC, "a") is PLAIN


def test_any_partition_is_the_next_one_with_each_transaction():
    lot = LooseLot(Topic("t", {0, 1, 2}, 10))
    turns = []
    for _ in range(6):
        lot.clear()
        turns.append(lot.partition)
    assert sorted(turns[:3]) == [0, 1, 2]
    assert turns[:3] == turns[3:]
