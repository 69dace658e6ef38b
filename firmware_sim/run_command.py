"""`busbridge-fleet run`: devices that connect, publish, and keep a ledger."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from bridge.security.keys import KeyFileError
from firmware_sim.fleet import Figures, Fleet
from firmware_sim.plan import Plan, Version
from firmware_sim.report import progress_line

_PROGRESS_S = 1.0
_VERSIONS: Mapping[str, Version] = {"3.1.1": "3.1.1", "5": "5"}
T = TypeVar("T")


def run(
    ledger: Annotated[Path, typer.Option(metavar="FILE", help="What happened is appended here; see 'audit'.")],
    host: Annotated[str, typer.Option(help="The gateway.")] = "127.0.0.1",
    port: Annotated[int, typer.Option()] = 8883,
    ca: Annotated[Path | None, typer.Option(help="The CA of the gateway's certificate; without it no TLS.")] = None,
    certs: Annotated[Path | None, typer.Option(metavar="DIR", help="ID.pem (chain and key) of each device.")] = None,
    devices: Annotated[int, typer.Option(min=1, metavar="N", help="So many, named by --pattern.")] = 10,
    pattern: Annotated[str, typer.Option(help="The device id for number 1, 2, …")] = "dev-%05d",
    rate: Annotated[float, typer.Option(min=0.01, metavar="R", help="Messages a second, all together.")] = 100.0,
    messages: Annotated[int, typer.Option(min=0, metavar="M", help="Of each device; 0: until Ctrl-C.")] = 100,
    qos: Annotated[str, typer.Option(help="Taken in turn, such as 1,2.")] = "1",
    size: Annotated[int, typer.Option(min=1, help="Bytes of a payload, if its fields need no more.")] = 128,
    topic: Annotated[str, typer.Option(help="Where a device publishes.")] = "devices/{device}/telemetry/main",
    window: Annotated[int, typer.Option(min=1, help="Messages a device has in flight at most.")] = 8,
    marker: Annotated[str, typer.Option(help="Text planted in every payload; names the run. Default: random.")] = "",
    mqtt: Annotated[str, typer.Option(help="MQTT versions, taken in turn: 3.1.1, 5.")] = "3.1.1,5",
    state: Annotated[bool, typer.Option(help="Report state, and take desired state.")] = True,
    report_every: Annotated[int, typer.Option(min=0, help="Messages between two reports of state; 0: one.")] = 20,
    seal_for: Annotated[
        list[Path] | None, typer.Option(metavar="NAME.pub", help="Devices seal for this reader; may be repeated.")
    ] = None,
    patience: Annotated[float, typer.Option(help="Seconds to wait for the last acknowledgements.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run devices until all their messages are acknowledged, or until Ctrl-C.

    \b
    Example:
      busbridge-fleet run --port 8883 --ca gw/certs/ca.pem --certs gw/devices --devices 50 --rate 500 --messages 200 \\
          --qos 1,2 --ledger fleet.ledger
    For a route with seal = "require_sealed", which takes nothing else: --seal-for data-team.pub
    """
    plan = Plan(
        host=host,
        port=port,
        ca=ca,
        certs=certs,
        devices=tuple(pattern % number for number in range(1, devices + 1)),
        marker=marker or f"run-{secrets.token_hex(4)}",
        topic=topic,
        rate=rate,
        messages=messages,
        qos=_chosen(qos, "--qos", {"0": 0, "1": 1, "2": 2}),
        size=size,
        window=window,
        versions=_chosen(mqtt, "--mqtt", _VERSIONS),
        state=state,
        report_every=report_every,
        seal_for=tuple(seal_for or ()),
    )
    try:
        trouble, figures = asyncio.run(_run(plan, ledger, patience))
    except KeyFileError as error:
        raise typer.BadParameter(str(error), param_hint="--seal-for") from error
    print(msgspec.json.encode(figures).decode() if as_json else f"{progress_line(figures)}; ledger: {ledger}")
    if trouble is not None:
        print(f"busbridge-fleet: not everything was acknowledged in {patience:g} s. {trouble}", file=sys.stderr)
        raise typer.Exit(1)


def _chosen(text: str, option: str, allowed: Mapping[str, T]) -> tuple[T, ...]:
    try:
        return tuple(allowed[part.strip()] for part in text.split(","))
    except KeyError as error:
        raise typer.BadParameter(f"{text!r}: some of {', '.join(allowed)}", param_hint=option) from error


async def _run(plan: Plan, ledger: Path, patience_s: float) -> tuple[str | None, Figures]:
    """Return what kept the fleet from finishing, None if nothing did, and where it stood."""
    fleet = Fleet(plan, ledger)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    telling = asyncio.create_task(_tell(fleet))
    await fleet.start()
    published = asyncio.create_task(fleet.offered())
    await asyncio.wait([published, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
    fleet.stop_publishing()
    trouble = None if await fleet.drained(patience_s) else fleet.last_error()
    telling.cancel()
    figures = fleet.figures()
    await fleet.stop()
    return trouble, figures


async def _tell(fleet: Fleet) -> None:
    """Progress: one line that is written over on a terminal, a line now and then elsewhere."""
    terminal = sys.stderr.isatty()
    while True:
        await asyncio.sleep(_PROGRESS_S if terminal else 10 * _PROGRESS_S)
        line = progress_line(fleet.figures(), fleet.last_error())
        print(f"\r\033[K{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
