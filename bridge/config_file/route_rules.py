"""What has to fit together in one route, a function a rule; like `rules`, it touches no file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from bridge.config import CloudEvents, Route, Schema
from bridge.config_file.errors import Finding, KeyPath
from bridge.device_filter import PLACEHOLDER
from bridge.sparkplug.topic import NAMESPACE

_KEY = re.compile(r"device|none|\{[1-9][0-9]{0,2}\}")
_PARTITION = re.compile(r"key|device|any|[0-9]{1,6}", re.ASCII)
_PLACEHOLDER = re.compile(r"\{(gateway|device|topic)\}")
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9._~:/?#@!$&'()*+,;=\[\]-]|%[0-9A-Fa-f]{2})+")
"""Its characters (RFC 3986 §2)."""
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.+")
_SCHEMAS: Final = ("json", "avro", "protobuf", "registry")
_PLACEHOLDERS: Final = "{gateway}, {device} and {topic}"


def route_findings(route: Route, path: KeyPath) -> Iterator[Finding]:
    """What does not fit in the route at `path`."""
    if not _KEY.fullmatch(route.key):
        yield Finding((*path, "key"), f'"{route.key}" is no key', '"device", "{2}" (a level of the topic), "none"')
    if not _PARTITION.fullmatch(route.partition):
        allowed = '"key", "device", "any", or a partition\'s number as a text, like "0"'
        yield Finding((*path, "partition"), f'"{route.partition}" decides no partition', allowed)
    yield from _cloud_events(route, (*path, "cloudevents"))
    if route.sparkplug is not None:
        yield from _sparkplug(route, (*path, "sparkplug"))
    if route.schema is not None:
        yield from _schema(route.schema, (*path, "schema"))
        if route.seal == "require_sealed":
            problem = "cannot judge what only a recipient can read"
            yield Finding((*path, "schema"), problem, 'no schema, or seal = "seal"', needs=((*path, "seal"),))
    elif route.on_invalid != "dead-letter":
        yield Finding((*path, "on_invalid"), "nothing says which message is invalid", "a schema beside it")


def _sparkplug(route: Route, path: KeyPath) -> Iterator[Finding]:
    if route.filter.split("/")[0] != NAMESPACE:
        problem, allowed = f"Sparkplug's topics begin with {NAMESPACE}", f'"{NAMESPACE}/+/+/{{device}}/#"'
        yield Finding((*path[:-1], "filter"), problem, allowed)
    if route.schema is not None:
        yield Finding(path, "Sparkplug has a schema of its own", "sparkplug or schema")
    if route.seal == "require_sealed":
        problem, needs = "cannot read what only a recipient can read", ((*path[:-1], "seal"),)
        yield Finding(path, problem, 'no sparkplug, or seal = "seal"', needs=needs)


def route_doubts(route: Route, path: KeyPath) -> Iterator[Finding]:
    """What a route gives up, so that nobody gives it up unawares."""
    levels = route.filter.split("/")
    if route.sparkplug is not None and levels[1:2] != ["STATE"] and levels[3:4] != [PLACEHOLDER]:
        problem = "whoever may publish there speaks for any edge node, and its documents"
        yield Finding((*path, "filter"), f"{problem}; {PLACEHOLDER} as the fourth level binds each to its own")
    gone = "the records of one device may stand in several partitions, so that their order is not kept"
    if route.partition == "any":
        yield Finding((*path, "partition"), gone)
    elif route.partition == "key" and route.key.startswith("{") and not _constant(route):
        also = f"{gone} among messages that differ in that level"
        yield Finding((*path, "key"), f'{also}; partition = "device" keeps it')


def _constant(route: Route) -> bool:
    """Whether the level that is the key is the same in all messages of a device."""
    levels = route.filter.split("/")
    number = int(route.key.strip("{}"))
    return number <= len(levels) and levels[number - 1] not in ("+", "#")


def _cloud_events(route: Route, path: KeyPath) -> Iterator[Finding]:
    settings = route.cloudevents
    if route.format != "cloudevents" and settings != CloudEvents():
        yield Finding(path, f'is not used with format = "{route.format}"', 'format = "cloudevents" beside it')
    for name in ("type", "source", "subject"):
        text = _PLACEHOLDER.sub("", getattr(settings, name))
        if "{" in text or "}" in text:
            yield Finding((*path, name), "has a placeholder that is not known", _PLACEHOLDERS)
    if not settings.type:
        yield Finding((*path, "type"), "is empty", "a text")
    if not _URI_REFERENCE.fullmatch(_PLACEHOLDER.sub("x", settings.source)):
        yield Finding((*path, "source"), f'"{settings.source}" is no URI reference', "as RFC 3986 §4.1 has it")
    schema = settings.dataschema
    if schema is not None and not (_URI.fullmatch(schema) and _URI_REFERENCE.fullmatch(schema)):
        yield Finding((*path, "dataschema"), f'"{schema}" is no absolute URI', "https://…")


def _schema(schema: Schema, path: KeyPath) -> Iterator[Finding]:
    given = [name for name in _SCHEMAS if getattr(schema, name) is not None]
    if len(given) != 1:
        problem = "says nothing of what a payload has to be" if not given else f"has {' and '.join(given)}"
        yield Finding(path, problem, f"one of {', '.join(_SCHEMAS)}")
        return
    (kind,) = given
    if kind == "protobuf" and schema.message is None:
        yield Finding(path, "a descriptor set holds many messages", 'message = "package.Name" beside protobuf')
    if schema.message is not None and kind not in ("protobuf", "registry"):
        yield Finding((*path, "message"), f"is not used with {kind}", "protobuf or registry beside it")
    if schema.message is not None and schema.registry == "device":
        yield Finding(
            (*path, "message"), "the device says which message it is", 'registry = "gateway", or leave it out'
        )
    if schema.subject is not None and kind != "registry":
        yield Finding((*path, "subject"), f"is not used with {kind}", "registry beside it")
    if schema.registry == "gateway" and not schema.subject:
        yield Finding(
            (*path, "subject"), "is missing: which schema is it?", 'a subject of the registry, like "telemetry-value"'
        )
