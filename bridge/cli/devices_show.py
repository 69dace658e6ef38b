"""`busbridge devices show`: one device's document, and what it means."""

from __future__ import annotations

import glob
from typing import Annotated

import typer

from bridge.cli.cluster import ConfigFile, Server
from bridge.cli.device_page import page_lines
from bridge.cli.device_view import Margin, Place, Topic, Watch, Where, look, until_interrupted
from bridge.cli.device_watch import watch_one
from bridge.cli.failure import FAILED, Failure
from bridge.cli.local import DataDir, Local
from bridge.cli.output import until_the_reader_goes
from bridge.row import row_of, with_belief

_COMPARED = 5000
"""Names, as it takes a while."""
Device = Annotated[str, typer.Argument(metavar="DEVICE", help="Its id.")]


def show(
    device: Device,
    config: ConfigFile = None,
    kafka: Server = None,
    local: Local = False,
    data_dir: DataDir = None,
    topic: Topic = None,
    margin: Margin = None,
    watch: Watch = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the document in one line of JSON.")] = False,
) -> None:
    """Show a device's document: whether it is there and who says so, what it reports, and what it lacks.

    \b
    Examples:
      busbridge devices show dev-00001 --config /etc/busbridge/busbridge.toml
      busbridge devices show dev-00001 --kafka kafka-1:9092 --json | jq .delta
      busbridge devices show dev-00001 --config gw.toml --watch
      busbridge devices show dev-00001 --local --config gw.toml
    """
    seen: list[str] = []

    def wanted(name: str) -> bool:
        seen.append(name)
        return name == device

    async def work(place: Place) -> None:
        if watch:
            await watch_one(place, device)
            return
        value = place.documents.get(device)
        if value is None:
            raise Failure(f"{place.name} has no document of {device!r}{_like(device, seen)}", FAILED)
        belief = place.belief(device, row_of(value))
        lines = [with_belief(value, belief).decode()] if as_json else page_lines(device, value, belief)
        with until_the_reader_goes():
            for line in lines:
                print(line)

    with until_interrupted(watch):
        look(Where(config, kafka, topic, margin, local, data_dir), (glob.escape(device),), wanted, work)


def _like(device: str, names: list[str]) -> str:
    """A device that was probably meant."""
    import difflib

    near = difflib.get_close_matches(device, list(dict.fromkeys(names))[:_COMPARED], n=1, cutoff=0.8)
    return f"; there is {near[0]!r}" if near else "; `busbridge devices list` shows which there are"
