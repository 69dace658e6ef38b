"""Which route a topic takes; `bridge.mqtt.topics.matches` is the oracle for filters without a placeholder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import Route
from bridge.mqtt.topics import is_valid_filter, is_valid_name, matches
from bridge.routing import Routing

LEVELS = st.sampled_from(["a", "b", "", "$SYS", "dev-1"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(is_valid_name)
FILTERS = (
    st.lists(st.one_of(LEVELS, st.just("+"), st.just("#")), min_size=1, max_size=4)
    .map("/".join)
    .filter(is_valid_filter)
)


def target(filters: list[str], device: str, topic: str) -> str | None:
    """The Kafka topic of the route taken; each route's is its filter."""
    route = Routing([Route(filter=each, topic=each) for each in filters]).route(device, topic)
    return None if route is None else route.topic


@given(FILTERS, TOPICS)
def test_a_filter_without_placeholder_matches_as_mqtt_says(topic_filter: str, topic: str) -> None:
    assert (target([topic_filter], "dev-1", topic) is not None) == matches(topic_filter, topic)


@given(st.lists(FILTERS, max_size=4), TOPICS)
def test_the_first_route_that_matches_decides(filters: list[str], topic: str) -> None:
    assert target(filters, "dev-1", topic) == next((each for each in filters if matches(each, topic)), None)


@given(
    st.sampled_from(["+", "#", "dev-1", "$x", "a/b", "é"]),
    st.sampled_from(["devices/dev-1/t", "devices/x/t", "devices/+/t"]),
)
def test_the_placeholder_is_one_literal_level_whatever_the_device_calls_itself(device: str, topic: str) -> None:
    found = target(["devices/{device}/t"], device, topic)
    assert (found is not None) == (topic == f"devices/{device}/t" and "/" not in device)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "taken"),
    [
        ("#", "$SYS/load", False),
        ("+/load", "$SYS/load", False),
        ("$SYS/#", "$SYS/load", True),
        ("{device}/load", "$SYS/load", False),
        ("devices/{device}/#", "devices/dev-1", True),
        ("devices/{device}/#", "devices/dev-10/x", False),
        ("devices/{device}", "devices/dev-1/x", False),
        ("devices/x{device}", "devices/xdev-1", True),
    ],
)
def test_corners(topic_filter: str, topic: str, taken: bool) -> None:
    assert (target([topic_filter], "dev-1", topic) is not None) == taken


def test_no_routes_means_the_local_broker() -> None:
    assert target([], "dev-1", "devices/dev-1/t") is None
