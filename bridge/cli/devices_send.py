"""`busbridge devices send`: what a device is to do, said to Kafka as any other program would."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.failure import Failure, plainly
from bridge.cli.loading import load_config


def send(
    device: Annotated[str, typer.Argument(help="The device's id.")],
    name: Annotated[str, typer.Argument(help="What it is to do.")],
    config: Annotated[Path, typer.Option(help="A gateway's configuration: it says where Kafka and the topics are.")],
    payload: Annotated[str | None, typer.Option(help="JSON.")] = None,
    deadline: Annotated[str, typer.Option(help="How long it may take, for example 30 s.")] = "60 s",
    qos: Annotated[int, typer.Option(min=0, max=2, help="At which it is delivered at the most.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome's record as it is.")] = False,
) -> None:
    """Send a command to a device and wait for its outcome. Exit code 1: it did not succeed.

    \b
    Example:
      busbridge devices send dev-00001 reboot --config /etc/busbridge/busbridge.toml
      busbridge devices send dev-00001 set --payload '{"interval_s": 10}' --deadline '5 min' --config gw/busbridge.toml
    """
    import msgspec
    from aiokafka.errors import KafkaError

    from bridge.bus_side.access import AccessError
    from bridge.cli.command_sender import NoOutcome, send_and_wait
    from bridge.units import UnitError, parse_duration

    settings = load_config(config)
    if settings.kafka is None or settings.downlink.command_topic is None:
        raise Failure(f"{config}: there is no downlink.command_topic")
    with plainly(msgspec.DecodeError, UnitError, AccessError, KafkaError, NoOutcome):
        value = msgspec.json.decode(payload) if payload is not None else msgspec.UNSET
        record = send_and_wait(settings.kafka, settings.downlink, device, name, value, qos, parse_duration(deadline))
    outcome = msgspec.json.decode(record)
    if as_json:
        typer.echo(record.decode())
    elif outcome["outcome"] == "succeeded":
        answer = msgspec.json.encode(outcome["payload"]).decode()
        typer.echo("succeeded" if outcome["payload"] is None else f"succeeded: {answer}")
    if outcome["outcome"] != "succeeded":
        why = outcome["detail"] or msgspec.json.encode(outcome["payload"]).decode()
        raise Failure(f"{outcome['outcome']}: {why}")
