"""`busbridge devices gateways`: which gateways there are, and what of theirs flows where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
import typer

from bridge.cli.cluster import ConfigFile, Server
from bridge.cli.device_view import Margin, Place, StateTopic, Topic, Where, look
from bridge.cli.output import print_rows, until_the_reader_goes

_COLUMNS = ("gateway", "state", "epoch", "version", "started", "lease_until", "routes")
_ROUTE_COLUMNS = ("gateway", "filter", "topic", "key", "format", "seal", "schema")
Routes = Annotated[bool, typer.Option("--routes", help="What flows where: a row for each route and other topic.")]


class _Schema(msgspec.Struct):
    kind: str = ""
    subject: str | None = None
    message: str | None = None


class _Route(msgspec.Struct):
    filter: str
    topic: str
    key: str = ""
    format: str = ""
    seal: str = ""
    recipients: tuple[str, ...] = ()
    schema: _Schema | None = None


class _Flows(msgspec.Struct):
    """Of a gateway's record."""

    routes: tuple[_Route, ...] = ()
    topics: dict[str, str | None] = {}


def gateways(
    config: ConfigFile = None,
    kafka: Server = None,
    topic: Topic = None,
    margin: Margin = None,
    routes: Routes = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the gateways' whole records, one a line.")] = False,
) -> None:
    """List the gateways by their own records in the state topic: which live, and with --routes what flows where.

    \b
    Examples:
      busbridge devices gateways --kafka kafka-1:9092
      busbridge devices gateways --config gw.toml --routes
    """

    async def work(place: Place) -> None:
        assert isinstance(place, StateTopic)
        with until_the_reader_goes():
            _print(place, routes=routes, as_json=as_json)

    look(Where(config, kafka, topic, margin, False, None), (), lambda device: False, work)


def _print(place: StateTopic, *, routes: bool, as_json: bool) -> None:
    records = {name: msgspec.json.decode(value) for name, value in sorted(place.gateways.items())}
    if as_json:
        for name, record in records.items():
            print(msgspec.json.encode(record | {"alive": place.alive(name)}).decode())
    elif routes:
        rows = [row for name, record in records.items() for row in _routes(name, record)]
        print_rows(_ROUTE_COLUMNS, rows, as_json=False)
    else:
        print_rows(_COLUMNS, [_row(name, record, place) for name, record in records.items()], as_json=False)


def _row(name: str, record: Mapping[str, Any], place: StateTopic) -> tuple[str, ...]:
    said = [str(record.get(column, "")) for column in ("epoch", "version", "started", "lease_until")]
    return name, "alive" if place.alive(name) else "not heard of", *said, str(len(_flows(record).routes))


def _routes(name: str, record: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each route, in their order, and then for what else goes somewhere."""
    flows = _flows(record)
    for route in flows.routes:
        schema = route.schema or _Schema()
        sealed = ", ".join([route.seal, *route.recipients])
        words = " ".join(filter(None, (schema.kind, schema.subject or schema.message)))
        yield name, route.filter, route.topic, route.key, route.format, sealed, words
    for what, topic in flows.topics.items():
        if topic is not None:
            yield name, f"({what.replace('_', ' ')})", topic, "", "", "", ""


def _flows(record: Mapping[str, Any]) -> _Flows:
    """Nothing, where its writer means something else by that."""
    try:
        return msgspec.convert(record, _Flows)
    except msgspec.ValidationError:
        return _Flows()
