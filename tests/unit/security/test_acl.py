"""Acl: against a simple oracle, and the cases that would be holes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import config
from bridge.config_access import Role
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


@given(filters.filter(lambda f: f != [""]), filters)
def test_a_denial_hits_every_filter_that_shares_a_topic_with_it(denied, requested):
    rules = Acl(config.Acl(subscribe=("#", "$x/#"), deny_subscribe=("/".join(denied),)))
    shared = any(matches(denied, topic) and matches(requested, topic) for topic in TOPICS)
    decision = rules.subscribing("dev", "/".join(requested))
    assert decision.rule.startswith("acl.deny_subscribe") == shared
    assert not (shared and decision.allowed)


@given(filters.filter(lambda f: f != [""]), topics)
def test_a_denial_of_publishing_goes_before_what_allows_it(denied, topic):
    rules = Acl(config.Acl(publish=("#", "$x/#"), deny_publish=("/".join(denied),)))
    assert rules.may_publish("dev", "/".join(topic)) == (not matches(denied, topic))


ROLES = config.Acl(
    publish=("devices/{device}/#",),
    subscribe=("devices/{device}/#",),
    deny_publish=("devices/+/locked",),
    roles={
        "operator": Role(ou=("Operations", "Field"), publish=("devices/+/set", "devices/+/locked"), subscribe=("#",)),
        "guest": Role(deny_publish=("devices/{device}/telemetry/#",), deny_subscribe=("devices/+/secret",)),
    },
)


def test_a_role_adds_what_it_allows_and_takes_what_it_denies():
    rules = Acl(ROLES, {"guest": frozenset({"dev-2"})})
    rules.enrol("dev-1", ["Sales", "Field"])
    rules.enrol("dev-2", ["Operations"])
    assert [rules.roles(device) for device in ("dev-1", "dev-2", "dev-3")] == [("operator",), ("operator", "guest"), ()]
    assert rules.publishing("dev-1", "devices/x/set").rule == 'acl.roles.operator.publish[0] "devices/+/set"'
    assert rules.publishing("dev-3", "devices/x/set").rule == "no rule allows it"
    assert rules.publishing("dev-1", "devices/x/locked").rule == 'acl.deny_publish[0] "devices/+/locked"'
    assert rules.publishing("dev-1", "devices/dev-1/telemetry/t").allowed
    assert not rules.publishing("dev-2", "devices/dev-2/telemetry/t").allowed
    assert rules.may_subscribe("dev-1", "#")
    assert rules.subscribing("dev-2", "#").rule == 'acl.roles.guest.deny_subscribe[0] "devices/+/secret"'
    assert rules.may_subscribe("dev-2", "broadcast/#")


def test_roles_are_those_of_the_last_certificate():
    rules = Acl(ROLES)
    rules.enrol("dev-1", ["Field"])
    assert rules.roles("dev-1", ["Sales"]) == ()
    assert rules.may_publish("dev-1", "devices/x/set")
    rules.enrol("dev-1", [])
    assert not rules.may_publish("dev-1", "devices/x/set")
    assert rules.publishing("dev-1", "devices/x/set", ["operator"]).allowed


def test_nobody_publishes_the_broker_s_own_figures_whatever_the_rules_say():
    assert acl("$SYS/#").publishing("d", "$SYS/broker/version").rule == "topics below $SYS are the broker's own"
    assert acl("$SYS/#").may_subscribe("d", "$SYS/broker/#")


def test_rules_that_cannot_be_compiled_leave_the_old_ones():
    rules = acl("a/#")
    with pytest.raises(ValueError, match="filter"):
        rules.replace(config.Acl(publish=("b",), roles={"r": Role(deny_publish=("#/a",))}))
    assert rules.may_publish("d", "a/b")
