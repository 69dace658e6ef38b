"""`busbridge devices send`: what a device is to do, said to Kafka as any other program would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.cluster import ConfigFile, Server, configured
from bridge.cli.failure import USAGE, Failure, plainly
from bridge.cli.loading import duration
from bridge.cli.local import DataDir, Local, directory_of
from bridge.cli.local_orders import send_locally
from bridge.cli.queue_source import quiet_log

if TYPE_CHECKING:
    from bridge.config import Config


def send(
    device: Annotated[str, typer.Argument(help="The device's id.")],
    name: Annotated[str, typer.Argument(help="What it is to do.")],
    config: ConfigFile = None,
    kafka: Server = None,
    local: Local = False,
    data_dir: DataDir = None,
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

    patience_s = duration(deadline)
    try:
        value = msgspec.json.decode(payload) if payload is not None else msgspec.UNSET
    except (msgspec.DecodeError, RecursionError) as error:
        raise Failure(f"--payload is no JSON: {error}", USAGE) from error
    if local:
        record = send_locally(directory_of(config, data_dir), device, name, value, qos, patience_s)
    else:
        topics = {"command_topic": command_topic, "outcome_topic": outcome_topic}
        record = _by_kafka(configured(config, kafka), topics, device, name, value, qos, patience_s)
    outcome = msgspec.json.decode(record)
    if as_json:
        typer.echo(record.decode())
    elif outcome["outcome"] == "succeeded":
        answer = msgspec.json.encode(outcome["payload"]).decode()
        typer.echo("succeeded" if outcome["payload"] is None else f"succeeded: {answer}")
    if outcome["outcome"] != "succeeded":
        why = outcome["detail"] or msgspec.json.encode(outcome["payload"]).decode()
        raise Failure(f"{outcome['outcome']}: {why}")


def _by_kafka(
    cluster: tuple[Config, str],
    topics: dict[str, str | None],
    device: str,
    name: str,
    payload: object,
    qos: int,
    patience_s: float,
) -> bytes:
    import msgspec
    from aiokafka.errors import KafkaError

    from bridge.bus_side.access import AccessError
    from bridge.cli.command_sender import NoOutcome, NoTopic, send_and_wait

    settings, whence = cluster
    named = {name: topic for name, topic in topics.items() if topic is not None}
    downlink = msgspec.structs.replace(settings.downlink, **named)
    if downlink.command_topic is None:
        raise Failure(f"{whence} has no downlink.command_topic: which do gateways read? (--command-topic)", USAGE)
    assert settings.kafka is not None
    quiet_log("devices")
    with plainly(AccessError, KafkaError, NoOutcome, NoTopic):
        return send_and_wait(settings.kafka, downlink, device, name, payload, qos, patience_s)
