"""`busbridge devices send`: what a device is to do, said to Kafka as any other program would."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge.cli.cluster import ConfigFile, Server, configured
from bridge.cli.failure import USAGE, Failure, plainly
from bridge.cli.queue_source import quiet_log


def send(
    device: Annotated[str, typer.Argument(help="The device's id.")],
    name: Annotated[str, typer.Argument(help="What it is to do.")],
    config: ConfigFile = None,
    kafka: Server = None,
    payload: Annotated[str | None, typer.Option(help="JSON.")] = None,
    deadline: Annotated[str, typer.Option(help="How long it may take, for example 30 s.")] = "60 s",
    qos: Annotated[int, typer.Option(min=0, max=2, help="At which it is delivered at the most.")] = 1,
    command_topic: Annotated[
        str | None, typer.Option(help="Else as the configuration says, or device-commands.")
    ] = None,
    outcome_topic: Annotated[
        str | None, typer.Option(help="Else as the configuration says, or device-command-outcomes.")
    ] = None,
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
    from bridge.cli.command_sender import NoOutcome, NoTopic, send_and_wait
    from bridge.units import UnitError, parse_duration

    settings, whence = configured(config, kafka)
    given = {"command_topic": command_topic, "outcome_topic": outcome_topic}
    named = {name: topic for name, topic in given.items() if topic is not None}
    topics = msgspec.structs.replace(settings.downlink, **named)
    if topics.command_topic is None:
        raise Failure(f"{whence} has no downlink.command_topic: which do gateways read? (--command-topic)", USAGE)
    assert settings.kafka is not None
    with plainly(UnitError, code=USAGE):
        patience_s = parse_duration(deadline)
    try:
        value = msgspec.json.decode(payload) if payload is not None else msgspec.UNSET
    except (msgspec.DecodeError, RecursionError) as error:
        raise Failure(f"--payload is no JSON: {error}", USAGE) from error
    quiet_log("devices")
    with plainly(AccessError, KafkaError, NoOutcome, NoTopic):
        record = send_and_wait(settings.kafka, topics, device, name, value, qos, patience_s)
    outcome = msgspec.json.decode(record)
    if as_json:
        typer.echo(record.decode())
    elif outcome["outcome"] == "succeeded":
        answer = msgspec.json.encode(outcome["payload"]).decode()
        typer.echo("succeeded" if outcome["payload"] is None else f"succeeded: {answer}")
    if outcome["outcome"] != "succeeded":
        why = outcome["detail"] or msgspec.json.encode(outcome["payload"]).decode()
        raise Failure(f"{outcome['outcome']}: {why}")
