"""Names, filters and which match, by the standard's own examples (MQTT5 §4.7) and a second implementation."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mqtt.errors import PeerError
from bridge.mqtt.reasons import Reason
from bridge.mqtt.topics import check_filter, check_name, is_valid_filter, is_valid_name, matches, split_share


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("#", "a/b", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/monitor", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/monitor", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
        ("ACCOUNTS", "Accounts", False),
        ("/finance", "finance", False),
        ("a//b", "a/+/b", False),
        ("a/+/b", "a//b", True),
    ],
)
@pytest.mark.mqtt("MQTT-4.7.2-1")
def test_the_standards_examples(pattern: str, topic: str, expected: bool) -> None:
    assert matches(pattern, topic) is expected


def _oracle(pattern: str, topic: str) -> bool:
    expression = re.escape(pattern).replace(r"\+", "[^/]*").replace(r"/\#", "(/.*)?").replace(r"\#", ".*")
    return re.fullmatch(expression, topic) is not None and not (topic[0] == "$" and pattern[0] in "+#")


_LEVEL = st.sampled_from(["", "a", "b", "$x"])
_TOPIC = st.lists(_LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)
_FILTER = (
    st.tuples(st.lists(_LEVEL | st.just("+"), max_size=4), st.booleans())
    .map(lambda made: "/".join(made[0] + ["#"] * made[1]))
    .filter(bool)
)


@given(_FILTER, _TOPIC)
def test_matching_agrees_with_a_regular_expression(pattern: str, topic: str) -> None:
    assert matches(pattern, topic) is _oracle(pattern, topic)


@pytest.mark.parametrize("name", ["", "a/+", "#", "a\0b", "a" * 65_536, "\ud800"])
@pytest.mark.mqtt("MQTT-4.7.0-1", "MQTT-4.7.3-1", "MQTT-4.7.3-2", "MQTT-4.7.3-3")
@pytest.mark.mqtt311("MQTT-4.7.1-1", "MQTT-4.7.3-2", "MQTT-4.7.3-3")
def test_invalid_names(name: str) -> None:
    assert not is_valid_name(name)


@pytest.mark.parametrize(
    "pattern",
    ["", "a/#/b", "a#", "sport+", "+a/b", "a/b+", "$share/", "$share//a", "$share/g", "$share/g/", "$share/+/a", "a\0"],
)
@pytest.mark.mqtt("MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.7.3-1", "MQTT-4.7.3-2", "MQTT-4.8.2-1", "MQTT-4.8.2-2")
@pytest.mark.mqtt311("MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.7.3-2")
def test_invalid_filters(pattern: str) -> None:
    assert not is_valid_filter(pattern)


@pytest.mark.parametrize("pattern", ["#", "+", "/", "a//", "+/tennis/#", "$share/g/#", "$share/g//", "a" * 65_535])
def test_valid_filters(pattern: str) -> None:
    assert is_valid_filter(pattern)


def test_split_share() -> None:
    assert split_share("$share/group/a/+/b") == ("group", "a/+/b")
    assert split_share("$shared/a") == ("", "$shared/a")


def test_our_limits_come_before_the_standards() -> None:
    check_name("a/b", max_bytes=3, max_levels=2)
    with pytest.raises(PeerError) as too_long:
        check_name("ä/b", max_bytes=3)
    with pytest.raises(PeerError) as too_deep:
        check_filter("a/+/#", max_levels=2)
    assert (too_long.value.reason, too_deep.value.reason) == (Reason.TOPIC_NAME_INVALID, Reason.TOPIC_FILTER_INVALID)
