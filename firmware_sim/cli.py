"""`busbridge-fleet`: the simulated fleet and its audit."""

from __future__ import annotations

import sys

import typer

from firmware_sim import audit_command, run_command
from firmware_sim.kafka_reader import KafkaReadError


def main() -> None:
    """Run `busbridge-fleet` with the process's arguments, and exit.

    Exit codes: 0 done; 1 it failed, the reason is on stderr; 2 wrong usage; 3 the audit found something wrong.
    """
    try:
        application()(prog_name="busbridge-fleet")
    except (OSError, ValueError, KafkaReadError) as error:
        print(f"busbridge-fleet: {error}", file=sys.stderr)
        sys.exit(1)


def application() -> typer.Typer:
    """Return the command tree."""
    app = typer.Typer(name="busbridge-fleet", no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_fleet)
    app.command("run")(run_command.run)
    app.command("audit")(audit_command.audit)
    return app


def _fleet() -> None:
    """A fleet of simulated MQTT devices, and the audit of what arrived of their messages.

    \b
    Examples:
      busbridge-fleet run --ca gw/certs/ca.pem --certs gw/devices --devices 50 --messages 200 --ledger fleet.ledger
      busbridge-fleet audit --ledger fleet.ledger --kafka kafka-1:9092 --topic telemetry --key data-team.key
    """
