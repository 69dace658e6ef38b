"""Acl: against a simple oracle, and the cases that would be holes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import config
from bridge.security.acl import Acl


def acl(*filters: str) -> Acl:
    return Acl(config.Acl(publish=filters, subscribe=filters))


def matches(topic_filter: list[str], topic: list[str]) -> bool:
    """MQTT 3.1.1 §4.7, as simply as it can be said: the oracle."""
    if topic[0].startswith("$") and topic_filter[0] in ("+", "#"):
        return False
    return _rest(topic_filter, topic)


def _rest(topic_filter: list[str], topic: list[str]) -> bool:
    if not topic_filter or not topic:
        return topic_filter in ([], ["#"]) and not topic
    if topic_filter == ["#"]:
        return True
    return topic_filter[0] in ("+", topic[0]) and _rest(topic_filter[1:], topic[1:])


LEVELS = ["a", "b", "", "$x"]
TOPICS = [list(levels) for size in (1, 2, 3) for levels in itertools.product(LEVELS, repeat=size)]
topics = st.sampled_from(TOPICS)
filters = st.tuples(
    st.lists(st.sampled_from([*LEVELS, "+"]), min_size=1, max_size=3), st.sampled_from([[], ["#"]])
).map(lambda parts: parts[0] + parts[1]) | st.just(["#"])


@given(filters.filter(lambda f: f != [""]), topics)
def test_publishing_is_what_the_filter_matches(allowed, topic):
    assert acl("/".join(allowed)).may_publish("dev", "/".join(topic)) == matches(allowed, topic)


@given(filters.filter(lambda f: f != [""]), filters)
def test_a_filter_is_allowed_only_if_all_it_matches_is(allowed, requested):
    if acl("/".join(allowed)).may_subscribe("dev", "/".join(requested)):
        assert all(matches(allowed, topic) for topic in TOPICS if matches(requested, topic))


@given(filters.filter(lambda f: f != [""]))
def test_every_filter_covers_itself(allowed):
    assert acl("/".join(allowed)).may_subscribe("dev", "/".join(allowed))


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [
        ("devices/dev-1/telemetry/t", True),
        ("devices/dev-1", True),
        ("devices/dev-2/telemetry/t", False),
        ("devices/dev-1x/telemetry", False),
        ("devices", False),
        ("broadcast/x", False),
        ("$SYS/x", False),
    ],
)
def test_the_default_lets_a_device_publish_only_below_its_own_name(topic, allowed):
    assert Acl(config.Acl()).may_publish("dev-1", topic) == allowed


@pytest.mark.parametrize(
    ("requested", "allowed"),
    [
        ("devices/dev-1/#", True),
        ("devices/dev-1/+/x", True),
        ("devices/dev-1", True),
        ("devices/+/state", False),
        ("devices/#", False),
        ("#", False),
        ("+/dev-1/x", False),
        ("broadcast/#", True),
        ("broadcast/+", True),
        ("$share/workers/devices/dev-1/commands/+", True),
        ("$share/workers/devices/#", False),
        ("$share/devices/dev-1/x", False),
        ("$share/workers", False),
        ("$share", False),
        ("$SYS/#", False),
    ],
)
def test_the_default_lets_a_device_subscribe_only_to_its_own_and_broadcasts(requested, allowed):
    assert Acl(config.Acl()).may_subscribe("dev-1", requested) == allowed


@pytest.mark.parametrize("device", ["+", "#", "a/b", "", "dev-1/#"])
def test_a_wild_device_name_gains_nothing(device):
    rules = Acl(config.Acl(publish=("devices/{device}/x",), subscribe=("devices/{device}/x",)))
    assert not rules.may_subscribe(device, "devices/+/x")
    assert not rules.may_subscribe(device, "devices/#")
    assert not rules.may_publish(device, "devices/dev-1/x")
    assert not rules.may_subscribe(device, "devices/dev-1/x")


def test_the_name_may_be_part_of_a_level():
    rules = acl("fleet/v2-{device}/+")
    assert rules.may_publish("dev-1", "fleet/v2-dev-1/t")
    assert not rules.may_publish("dev-1", "fleet/dev-1/t")


def test_without_patterns_nothing_is_allowed():
    assert not acl().may_publish("d", "a")
    assert not acl().may_subscribe("d", "a")


@pytest.mark.parametrize("pattern", ["", "a/#/b", "a/b#", "a+/b", "devices/{name}/#", "a/{device/b", "#/#"])
def test_what_is_no_filter_is_refused_at_start(pattern):
    with pytest.raises(ValueError, match="filter"):
        acl(pattern)


def test_without_rules_everything_is_allowed_but_the_broker_s_own_figures() -> None:
    """A plain local broker; topics with a dollar are for its clients to use as well (MQTT5 §4.7.2)."""
    everyone = Acl(None)
    assert all(everyone.may_publish("d", topic) for topic in ("a", "$a/b", "devices/other/x", "/", "$SYSTEM"))
    assert not everyone.may_publish("d", "$SYS/broker/version")
    assert all(everyone.may_subscribe("d", wanted) for wanted in ("#", "$SYS/#", "$share/g/+/x", "devices/other/#"))
