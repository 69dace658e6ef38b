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
from bridge.groups import GROUPS, BadLabels, check_group

if TYPE_CHECKING:
    from bridge.config import Config, Downlink


def send(
    device: Annotated[
        str, typer.Argument(metavar="DEVICE", help="Its id; or group/KEY=VALUE, or group/all: all that have the label.")
    ],
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

    To a group: every gateway hands it out to its devices and says in the end how many came to which end.

    \b
    Example:
      busbridge devices send dev-00001 reboot --config /etc/busbridge/busbridge.toml
      busbridge devices send dev-00001 set --payload '{"interval_s": 10}' --deadline '5 min' --config gw/busbridge.toml
      busbridge devices send group/site=north reboot --deadline '10 min' --config /etc/busbridge/busbridge.toml
    """
    import msgspec

    patience_s = duration(deadline)
    try:
        value = msgspec.json.decode(payload) if payload is not None else msgspec.UNSET
    except (msgspec.DecodeError, RecursionError) as error:
        raise Failure(f"--payload is no JSON: {error}", USAGE) from error
    topics = {"command_topic": command_topic, "outcome_topic": outcome_topic}
    if device.startswith(GROUPS):
        if local:
            raise Failure("--local sends to one device; a group is every gateway's", USAGE)
        _to_group(configured(config, kafka), topics, device, (name, value, qos, patience_s), as_json=as_json)
        return
    if local:
        record = send_locally(directory_of(config, data_dir), device, name, value, qos, patience_s)
    else:
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
    from aiokafka.errors import KafkaError

    from bridge.bus_side.access import AccessError
    from bridge.cli.command_sender import NoOutcome, NoTopic, send_and_wait

    settings = cluster[0]
    downlink = _downlink(cluster, topics)
    assert settings.kafka is not None
    quiet_log("devices")
    with plainly(AccessError, KafkaError, NoOutcome, NoTopic):
        return send_and_wait(settings.kafka, downlink, device, name, payload, qos, patience_s)


def _to_group(
    cluster: tuple[Config, str],
    topics: dict[str, str | None],
    key: str,
    what: tuple[str, object, int, float],
    *,
    as_json: bool,
) -> None:
    """`what`: name, payload, QoS, and how long it may take in seconds."""
    import msgspec
    from aiokafka.errors import KafkaError

    from bridge.bus_side.access import AccessError
    from bridge.bus_side.fleet import FleetError
    from bridge.cli.command_sender import NoOutcome, NoTopic
    from bridge.cli.group_sender import send_to_group
    from bridge.cli.output import print_rows

    group = key.removeprefix(GROUPS)
    with plainly(BadLabels, code=USAGE):
        check_group(group)
    with plainly(AccessError, KafkaError, FleetError, NoOutcome, NoTopic):
        whole = send_to_group(cluster[0], _downlink(cluster, topics), group, *what)
    if as_json:
        typer.echo(msgspec.json.encode(whole).decode())
    else:
        rows = [
            (gateway, str(each["outcome"]), str(each.get("devices", 0)), _counted(each.get("counts") or {}))
            for gateway, each in sorted(whole.gateways.items())
        ]
        print_rows(("gateway", "outcome", "devices", "counts"), rows, as_json=False)
    if not whole.succeeded:
        raise Failure(_counted(whole.counts) or f"no device is in the group {group}")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def _downlink(cluster: tuple[Config, str], topics: dict[str, str | None]) -> Downlink:
    import msgspec

    settings, whence = cluster
    named = {name: topic for name, topic in topics.items() if topic is not None}
    downlink = msgspec.structs.replace(settings.downlink, **named)
    if downlink.command_topic is None:
        raise Failure(f"{whence} has no downlink.command_topic: which do gateways read? (--command-topic)", USAGE)
    return downlink
