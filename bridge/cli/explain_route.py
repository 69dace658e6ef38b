"""`busbridge check --route TOPIC`: which route decides, and what it makes of the message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bridge.cli.failure import FOUND, USAGE, Failure

if TYPE_CHECKING:
    from bridge.config import Config, Route, Sparkplug

_PARTITION = {"device": "by the device (murmur2)", "any": "any, in turn: no order is kept"}


def explain_route(config: Config, topic: str, device: str, payload: Path | None) -> None:
    """Print it. Failure where the message would not reach its topic."""
    from bridge.cli.explain_acl import load_acl
    from bridge.mqtt.topics import is_valid_name
    from bridge.routing import Routing

    if not device:
        raise Failure("--route needs --device: routes and permissions depend on who publishes", USAGE)
    if not is_valid_name(topic):
        raise Failure(f"{topic!r} is no topic name", USAGE)
    decision = load_acl(config).publishing(device, topic)
    if not decision.allowed:
        raise Failure(f"{device} may not publish on {topic}: {decision.rule}", FOUND)
    route = Routing(config.routes).route(device, topic)
    if route is None:
        typer.echo("no route takes it: it stays on the local broker")
        return
    for line in _lines(route, device, topic):
        typer.echo(line)
    if route.schema is not None and payload is not None:
        _judge(route, payload)


def _lines(route: Route, device: str, topic: str) -> Iterator[str]:
    from bridge.bus_side.forms import key_of

    key = key_of(route, device, topic)
    yield f"route {route.filter}"
    yield f"to the topic {route.topic}, lane {route.lane}, {sealing(route)}"
    yield f"key {key.decode()!r}" if key else "no key"
    by_key = "by the key (murmur2)" if key else _PARTITION["device"]
    yield f"partition {by_key if route.partition == 'key' else _PARTITION.get(route.partition, route.partition)}"
    yield f"format {route.format}"
    if route.schema is not None:
        yield f"judged by a schema; what does not fit: {route.on_invalid}"
    if route.sparkplug is not None:
        yield from _sparkplug(route.sparkplug, device, topic)


def _sparkplug(settings: Sparkplug, device: str, topic: str) -> Iterator[str]:
    from bridge.sparkplug.errors import NotSparkplug
    from bridge.sparkplug.topic import STATE, parse

    yield f"Sparkplug B, in Kafka {'JSON with every metric named' if settings.json else 'the payload as it is'}"
    try:
        found = parse(topic, settings.id_max_bytes)
    except NotSparkplug as error:
        yield f"a dead letter: {error}"
        return
    if found.kind == STATE:
        yield f"the state of the host application {found.node}"
        return
    what = (
        f"the device {found.device} behind the edge node {found.node}"
        if found.device
        else f"the edge node {found.node}"
    )
    yield f"{found.kind} of {what}, group {found.group}"
    own = not found.device and found.node == device
    yield f"its document, where there is [state]: {device if own else found.key}"


def sealing(route: Route) -> str:
    """Say who can read what a route forwards."""
    by_device = "by the device, " if route.seal == "require_sealed" else ""
    return f"sealed {by_device}for {', '.join(route.recipients)}" if route.recipients else "not sealed"


def _judge(route: Route, payload: Path) -> None:
    from bridge.schemas.files import load
    from bridge.schemas.schema import Misfit, SchemaError

    if route.schema is None or route.schema.registry is not None:
        typer.echo("its schema is in the registry: only the running gateway asks there")
        return
    try:
        load(route.schema).fit(payload.read_bytes())
    except OSError as error:
        raise Failure(f"{payload} cannot be read: {error.strerror}", USAGE) from error
    except SchemaError as error:
        raise Failure(f"the schema {error}", FOUND) from error
    except Misfit as error:
        raise Failure(f"the payload does not fit: {error}", FOUND) from error
    typer.echo("the payload fits")
