"""`busbridge`: the commands, a file each. They have no logic of their own, and import what is heavy only when run."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bridge.cli import certs, daemon, devices, init, keys, open_records, queue, status, users
from bridge.cli.failure import Failure


def main() -> None:
    """Run `busbridge` with the process's arguments, and exit."""
    try:
        application()(prog_name="busbridge")
    except Failure as failure:
        print(f"busbridge: {failure}", file=sys.stderr)
        sys.exit(failure.code)


def application() -> typer.Typer:
    """Return the whole command tree."""
    app = typer.Typer(name="busbridge", no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.callback()(_busbridge)
    app.command("init")(init.init)
    app.command("run")(daemon.run)
    app.command("check")(daemon.check)
    app.command("status")(status.status)
    app.command("open")(open_records.open_records)
    app.add_typer(certs.commands(), name="certs")
    app.add_typer(devices.commands(), name="devices")
    app.add_typer(keys.commands(), name="keys")
    app.add_typer(queue.commands(), name="queue")
    app.add_typer(users.commands(), name="users")
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"busbridge {version('busbridge')}")
        except PackageNotFoundError:
            typer.echo("busbridge (from a checkout, not installed)")
        raise typer.Exit


def _busbridge(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """An MQTT-to-Kafka bridge: acknowledged means on disk, forwarded exactly once.

    \b
    A first gateway, in four commands:
      busbridge init gw --gateway-id gw-001 --kafka kafka-1:9092
      busbridge certs issue dev-00001 --dir gw/certs --out gw/devices
      busbridge check --config gw/busbridge.toml
      busbridge run --config gw/busbridge.toml
    """
