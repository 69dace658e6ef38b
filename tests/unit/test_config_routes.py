"""The settings of a route: what is allowed, and what a person is told that it gives up."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import config_file
from bridge.config_file import ConfigErrors

ROUTE = """\
[gateway]
id = "gw-001"
[[listeners]]
bind = "127.0.0.1:1883"
anonymous = true
[kafka]
bootstrap_servers = ["kafka-1:9092"]
[[routes]]
filter = "devices/{device}/telemetry/#"
topic = "telemetry"
seal = "plain"
"""


def keys_of(text: str) -> list[str]:
    """Of what is wrong in it."""
    try:
        config_file.parse(text, base=Path("/etc/busbridge"), name="busbridge.toml")
    except ConfigErrors as errors:
        return [each.key for each in errors.errors]
    return []


def parse(lines: str) -> config_file.Config:
    return config_file.parse(ROUTE + lines, base=Path("/etc/busbridge"), name="busbridge.toml")


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ('key = "{0}"', "routes[0].key"),
        ('key = "topic"', "routes[0].key"),
        ('partition = "-1"', "routes[0].partition"),
        ('partition = "round-robin"', "routes[0].partition"),
        ('cloudevents = { type = "x" }', "routes[0].cloudevents"),
        ('format = "cloudevents"\ncloudevents = { type = "" }', "routes[0].cloudevents.type"),
        ('format = "cloudevents"\ncloudevents = { type = "{devices}" }', "routes[0].cloudevents.type"),
        ('format = "cloudevents"\ncloudevents = { source = "not a URI" }', "routes[0].cloudevents.source"),
        ('format = "cloudevents"\ncloudevents = { source = "" }', "routes[0].cloudevents.source"),
        ('format = "cloudevents"\ncloudevents = { dataschema = "/relative" }', "routes[0].cloudevents.dataschema"),
        ('on_invalid = "refuse"', "routes[0].on_invalid"),
        ("schema = {}", "routes[0].schema"),
        ('schema = { json = "a", avro = "b" }', "routes[0].schema"),
        ('schema = { protobuf = "a" }', "routes[0].schema"),
        ('schema = { json = "a", message = "b" }', "routes[0].schema.message"),
        ('schema = { json = "a", subject = "b" }', "routes[0].schema.subject"),
        ('schema = { registry = "gateway" }\n[schema_registry]\nurl = "http://r"', "routes[0].schema.subject"),
        ('schema = { registry = "device" }', "routes[0].schema.registry"),
        (
            'schema = { registry = "device", message = "x" }\n[schema_registry]\nurl = "http://r"',
            "routes[0].schema.message",
        ),
        ("sparkplug = {}", "routes[0].filter"),
        ("sparkplug = { values_max = 0 }", "routes[0].sparkplug.values_max"),
        ("sparkplug = { nesting_max = 17 }", "routes[0].sparkplug.nesting_max"),
        ('[schema_registry]\nurl = "ftp://r"', "schema_registry.url"),
        ('[schema_registry]\nurl = "https://a:b@r"', "schema_registry.url"),
        ('[schema_registry]\nurl = "https://r"\nusername = "a"', "schema_registry"),
        ('[schema_registry]\nurl = "http://r"\nusername = "a"\npassword_file = "b"', "schema_registry.url"),
    ],
)
def test_wrong_settings_are_named(lines: str, key: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse(lines)
    assert [each.key for each in caught.value.errors] == [key]


@pytest.mark.parametrize(
    "lines",
    [
        "",
        'key = "none"',
        'key = "{2}"',
        'key = "{1}"',
        'key = "{4}"\npartition = "device"',
        'partition = "0"',
        'format = "cloudevents"\ncloudevents = { source = "//example.com/{device}", dataschema = "urn:x:y" }',
        'schema = { protobuf = "a", message = "b" }\non_invalid = "refuse"',
        'schema = { registry = "gateway", subject = "a" }\n[schema_registry]\nurl = "http://r/base"',
    ],
)
def test_what_keeps_the_order_is_not_warned_of(lines: str) -> None:
    assert config_file.warnings(parse(lines)) == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('partition = "any"', "routes[0].partition: the records of one device may stand in several partitions"),
        ('key = "{4}"', 'partition = "device" keeps it'),
    ],
)
def test_what_gives_the_order_up_is_said(lines: str, words: str) -> None:
    (warning,) = config_file.warnings(parse(lines))
    assert words in warning


SPARKPLUG = ROUTE.replace("devices/{device}/telemetry/#", "spBv1.0/+/+/{device}/#")


@pytest.mark.parametrize(
    ("lines", "keys"),
    [
        ("sparkplug = { json = true, rebirth = false }", []),
        ('sparkplug = {}\nschema = { json = "a" }', ["routes[0].sparkplug"]),
    ],
    ids=["alone", "with a schema"],
)
def test_sparkplug_beside_other_settings(lines: str, keys: list[str]) -> None:
    assert keys_of(SPARKPLUG + lines) == keys


def test_sparkplug_cannot_read_what_devices_seal() -> None:
    text = SPARKPLUG.replace('"plain"', '"require_sealed"') + 'recipients = ["team"]\nsparkplug = {}\n'
    assert keys_of(text + '[recipients.team]\npublic_key = "team.pub"') == ["routes[0].sparkplug"]


@pytest.mark.parametrize(
    ("topic_filter", "words"),
    [
        ("spBv1.0/+/+/{device}/#", []),
        ("spBv1.0/plant/NDATA/{device}", []),
        ("spBv1.0/STATE/+", []),
        ("spBv1.0/#", ["speaks for any edge node"]),
        ("spBv1.0/+/+/+/#", ["speaks for any edge node"]),
    ],
)
def test_who_speaks_for_which_edge_node_is_looked_at(topic_filter: str, words: list[str]) -> None:
    text = ROUTE.replace("devices/{device}/telemetry/#", topic_filter) + "sparkplug = {}"
    warnings = config_file.warnings(config_file.parse(text, base=Path("/etc/busbridge"), name="busbridge.toml"))
    assert [word in warning for word, warning in zip(words, warnings, strict=True)] == [True] * len(words)


@pytest.mark.parametrize(
    ("lines", "keys"),
    [
        ("", ["routes[0].recipients"]),
        ('recipients = ["team"]\n[recipients.team]\npublic_key = "team.pub"', []),
        (
            'recipients = ["team"]\nschema = { json = "a" }\n[recipients.team]\npublic_key = "team.pub"',
            ["routes[0].schema"],
        ),
    ],
)
def test_what_devices_seal_needs_readers_and_can_be_judged_by_nobody_else(lines: str, keys: list[str]) -> None:
    assert keys_of(ROUTE.replace('"plain"', '"require_sealed"') + lines) == keys
