"""`busbridge status`: how the running daemon is doing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.failure import FOUND
from bridge.cli.local import ConfigFile, DataDir, ask
from bridge.units import format_size

if TYPE_CHECKING:
    from bridge.admin.report import Report
    from bridge.admin.status import BusSide, Status


def status(
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the daemon's answer as it is.")] = False,
) -> None:
    """Show how the running daemon is doing. Exit code 3: devices are not served at the moment.

    \b
    Example:
      busbridge status --config /etc/busbridge/busbridge.toml
      busbridge status --json | jq .status.lanes
    """
    import msgspec

    from bridge.admin.report import Report

    answer = ask("/status", config, data_dir)
    report = msgspec.json.decode(answer, type=Report)
    if as_json:
        typer.echo(answer.decode())
    else:
        _print(report)
    if not report.verdict.ready:
        raise typer.Exit(FOUND)


def _print(report: Report) -> None:
    from bridge.cli.output import print_rows

    status, verdict = report.status, report.verdict
    for line in _lines(status):
        typer.echo(line)
    for kind, words in (("problem", verdict.problems), ("concern", verdict.concerns)):
        for word in words:
            typer.echo(f"{kind}: {word}")
    if status.lanes:
        typer.echo()
        rows = [
            (
                name,
                str(lane.log.waiting_records),
                format_size(lane.log.waiting_bytes),
                format_size(lane.log.file_bytes),
                format_size(lane.log.capacity_bytes),
                "yes" if lane.full else "no",
            )
            for name, lane in status.lanes.items()
        ]
        print_rows(("lane", "waiting", "in_bytes", "on_disk", "may_grow_to", "full"), rows, as_json=False)


def _lines(status: Status) -> Iterator[str]:
    since = timedelta(seconds=int(status.now - status.started))
    yield f"gateway {status.gateway}, busbridge {status.version}, epoch {status.epoch}"
    yield f"process {status.pid}, up {since}"
    yield f"listens on {', '.join(status.listeners)}"
    clients, traffic = status.clients, status.traffic
    of = "" if clients.devices == clients.connected else f" ({clients.devices} devices)"
    yield f"clients: {clients.connected} connected{of} of {clients.known} known, {clients.subscriptions} subscriptions"
    if len(clients.by_authority) > 1:  # (a change of CA is under way)
        counts = ", ".join(f"{count} of {name}" for name, count in clients.by_authority.items())
        yield f"certificates in use: {counts}"
    yield (
        f"publications: {traffic.publications_received} received, {traffic.publications_delivered} delivered here, "
        f"{traffic.publications_dropped} dropped for subscribers"
    )
    yield from _device_lines(status)
    if status.bounds.held or status.bounds.refused:
        turned_away = ", ".join(f"{count} {reason}" for reason, count in sorted(status.bounds.refused.items()))
        yield f"limits: {status.bounds.held} connections held now; turned away: {turned_away or 'none'}"
    if (spark := status.sparkplug) is not None:
        yield (
            f"Sparkplug: {spark.nodes_alive} edge nodes there, {spark.gaps} gaps, {spark.rebirths} births asked for, "
            f"{spark.invalid} messages that are none"
        )
    yield "forwards nothing: a local MQTT broker" if status.bus_side is None else _bus(status.bus_side)


def _device_lines(status: Status) -> Iterator[str]:
    if status.documents is not None:
        waiting = f", {status.documents.unwritten} changed and not written" if status.documents.unwritten else ""
        gateways = status.bus_side.health.figures.gateways if status.bus_side is not None else 0
        seen = f"; {gateways} gateways in the state topic" if gateways else ""
        yield f"documents: {status.documents.kept} devices{waiting}{seen}"
    if status.commands is not None:
        said = ", ".join(f"{count} {word}" for word, count in sorted(status.commands.outcomes.items()))
        yield f"commands: {status.commands.pending} not over; said since the start: {said or 'nothing'}"


def _bus(bus: BusSide) -> str:
    health = bus.health
    if bus.pid is None:
        return "bus side: not running, it is started again"
    since = f" since {datetime.fromtimestamp(health.since, UTC):%Y-%m-%dT%H:%M:%SZ}" if health.since else ""
    detail = f": {health.detail}" if health.detail else ""
    return f"bus side: process {bus.pid}, {health.state}{since}{detail}; {health.forwarded_records} records forwarded"
