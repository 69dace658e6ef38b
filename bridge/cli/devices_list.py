"""`busbridge devices list`: what the bus knows of every device, and what of it may be believed now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from bridge.cli.cluster import ConfigFile, Server
from bridge.cli.device_table import Listed, device_lines, summary
from bridge.cli.device_view import Margin, Place, Topic, Watch, Where, look, until_interrupted
from bridge.cli.device_watch import watch_list
from bridge.cli.failure import USAGE, plainly
from bridge.cli.local import DataDir, Local
from bridge.cli.output import until_the_reader_goes
from bridge.groups import BadLabels, check_group
from bridge.row import Asked, row_of, with_belief

Patterns = Annotated[
    list[str] | None, typer.Argument(metavar="[DEVICE]...", help="Ids, with * and ? as in a shell; none: all.")
]


def list_devices(
    devices: Patterns = None,
    config: ConfigFile = None,
    kafka: Server = None,
    local: Local = False,
    data_dir: DataDir = None,
    topic: Topic = None,
    margin: Margin = None,
    online: Annotated[bool, typer.Option("--online", help="Those that are there.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Those that are not.")] = False,
    unknown: Annotated[bool, typer.Option("--unknown", help="Those of which nobody knows, by the lease.")] = False,
    gateway: Annotated[
        list[str] | None, typer.Option("--gateway", metavar="ID", help="Those of this gateway; may be repeated.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Those with this label; repeated: with all of them.")
    ] = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="Those that do not report yet what is desired of them.")
    ] = False,
    watch: Watch = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print whole documents, one a line.")] = False,
) -> None:
    """List devices: whether they are there, as it may be believed now; since when, where, and what is pending.

    A document that says `online` is believed as long as its gateway's lease holds (docs/device-state.md).

    \b
    Examples:
      busbridge devices list --config /etc/busbridge/busbridge.toml
      busbridge devices list --kafka kafka-1:9092 --unknown --gateway gw-007 --label site=north
      busbridge devices list --kafka kafka-1:9092 --watch
      busbridge devices list --local --offline
      busbridge devices list 'press-*' --config gw.toml --json | jq .reported.state.firmware
    """
    with plainly(BadLabels, code=USAGE):
        for each in label or ():
            check_group(each)
    states = {"online": online, "offline": offline, "unknown": unknown}
    asked = Asked(
        tuple(devices or ()),
        frozenset(state for state, wanted in states.items() if wanted),
        frozenset(gateway or ()),
        tuple(label or ()),
        pending,
    )

    async def work(place: Place) -> None:
        if watch:
            await watch_list(place, asked)
            return
        with until_the_reader_goes():
            _print(place, asked, as_json=as_json)

    with until_interrupted(watch):
        look(Where(config, kafka, topic, margin, local, data_dir), asked.patterns, asked.of_name(), work)


def _print(place: Place, asked: Asked, *, as_json: bool) -> None:
    found = list(_found(place, asked))
    if as_json:
        for device, _, belief in found:
            print(with_belief(place.documents[device], belief).decode())
        return
    for line in device_lines(found):
        print(line)
    typer.echo(summary(found), err=True)


def _found(place: Place, asked: Asked) -> Iterator[Listed]:
    """By id."""
    for device in sorted(place.documents):
        row = row_of(place.documents[device])
        belief = place.belief(device, row)
        if asked.takes(row, belief):
            yield device, row, belief
