"""`busbridge devices`: the documents of the fleet, in the state topic."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from bridge.cli.devices_gateways import gateways
from bridge.cli.devices_label import label
from bridge.cli.devices_list import list_devices
from bridge.cli.devices_send import send
from bridge.cli.devices_set import set_desired
from bridge.cli.devices_show import show
from bridge.cli.failure import FAILED, USAGE, Failure, plainly
from bridge.cli.loading import load_config
from bridge.cli.queue_source import quiet_log

if TYPE_CHECKING:
    from bridge.bus_side.fleet import Fleet
    from bridge.config import Config, Kafka, State

Given = Annotated[Path, typer.Option("--config", help="A configuration file: it says how to get into Kafka.")]
Answer = TypeVar("Answer")


def commands() -> typer.Typer:
    """Return the command group."""
    group = typer.Typer(no_args_is_help=True, help="Device documents in the state topic.")
    group.command("list")(list_devices)
    group.command("show")(show)
    group.command("set")(set_desired)
    group.command("label")(label)
    group.command("gateways")(gateways)
    group.command("sweep")(sweep)
    group.command("remove")(remove)
    group.command("send")(send)
    return group


def sweep(
    config: Given,
    margin: Annotated[
        float | None, typer.Option(help="Seconds that clocks may differ; else as state.sweep_margin says.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which devices, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Write `unknown` for devices that a dead gateway's documents still call online.

    A gateway is dead when the lease in its record `gateway/ID` is over. Should it live after all, it says again what is
    true as soon as it reaches Kafka. Gateways with `state.sweep = true` do the same by themselves.

    \b
    Examples:
      busbridge devices sweep --config /etc/busbridge/busbridge.toml --dry-run
      busbridge devices sweep --config /etc/busbridge/busbridge.toml
    """
    loaded, kafka, state = _loaded(config)
    margin_s = state.sweep_margin if margin is None else margin

    async def work(fleet: Fleet) -> list[str]:
        members = await fleet.outlived(margin_s)
        return [each.device for each in members] if dry_run else await fleet.say_unknown(members)

    from bridge.cli.output import print_rows

    rows = [(device, "online" if dry_run else "unknown") for device in sorted(_done(loaded, kafka, state, work))]
    print_rows(("device", "state"), rows, as_json=as_json)


def remove(
    config: Given,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Its id; or gateway/ID, a gateway's own record.")],
) -> None:
    """Remove a device's document: a tombstone in the state topic.

    Its gateway forgets the document, too. A device that is connected, or comes back, has one again: to keep it out,
    revoke its certificate.

    \b
    Example:
      busbridge devices remove dev-00001 --config /etc/busbridge/busbridge.toml
    """
    loaded, kafka, state = _loaded(config)
    if not _done(loaded, kafka, state, lambda fleet: fleet.remove(device)):
        raise Failure(f"the topic {state.topic} has no document of {device}", FAILED)


def _loaded(path: Path) -> tuple[Config, Kafka, State]:
    loaded = load_config(path)
    if loaded.kafka is None or loaded.state is None:
        raise Failure(f"{path} has no [kafka] or no [state]: there are no documents to be found", USAGE)
    return loaded, loaded.kafka, loaded.state


def _done(config: Config, kafka: Kafka, state: State, work: Callable[[Fleet], Awaitable[Answer]]) -> Answer:
    """What the work gives, once the topic has been read. Raises Failure."""
    import asyncio

    from bridge.bus_side.fleet import Fleet, FleetError

    async def run() -> Answer:
        fleet = Fleet(kafka, state.topic, config.gateway.id)
        try:
            await fleet.read()
            return await work(fleet)
        finally:
            await fleet.close()

    quiet_log("devices")
    with plainly(FleetError):
        return asyncio.run(run())
