"""`busbridge devices set`: what a device is to be like, written to the topic that gateways read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.cluster import ConfigFile, Server, configured
from bridge.cli.desired_input import read_object
from bridge.cli.device_view import Topic
from bridge.cli.failure import USAGE, Failure, plainly
from bridge.cli.loading import duration
from bridge.cli.local import DataDir, Local, directory_of
from bridge.cli.local_orders import desire_locally
from bridge.groups import GROUPS, BadLabels, check_group

if TYPE_CHECKING:
    from bridge.config import Config

Patch = Annotated[
    str | None, typer.Option(metavar="JSON", help="Change what is desired so far by this merge patch (RFC 7386).")
]
Target = Annotated[
    str,
    typer.Argument(metavar="DEVICE", help="Its id; or group/KEY=VALUE, or group/all: below what each device has."),
]
IfVersion = Annotated[
    int | None, typer.Option("--if-version", min=0, help="Only if this version is the present one; 0: none is.")
]
InStep = Annotated[bool, typer.Option("--in-step", help="With --wait: until the device reports what is desired.")]


def set_desired(
    device: Target,
    state: Annotated[str | None, typer.Argument(metavar="[JSON]", help="The whole desired state, an object.")] = None,
    config: ConfigFile = None,
    kafka: Server = None,
    local: Local = False,
    data_dir: DataDir = None,
    file: Annotated[Path | None, typer.Option("--file", help="The state is in this file; - is standard input.")] = None,
    patch: Patch = None,
    remove: Annotated[bool, typer.Option("--remove", help="Nothing is desired of the device any more.")] = False,
    version: Annotated[
        int | None, typer.Option(min=1, help="Of this state; else one more than the highest so far.")
    ] = None,
    if_version: IfVersion = None,
    wait: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Until a gateway has taken it over, for example '30 s'.")
    ] = None,
    in_step: InStep = False,
    topic: Topic = None,
    desired_topic: Annotated[
        str | None, typer.Option(help="Else as the configuration says, or device-desired.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came of it as a JSON object.")] = False,
) -> None:
    """Set the desired state of a device: a new version in the topic of desired states. Gateways refuse older versions.

    \b
    Examples:
      busbridge devices set dev-00001 '{"interval_s": 10}' --config gw.toml --wait '30 s'
      busbridge devices set dev-00001 --patch '{"interval_s": null, "net": {"vlan": 7}}' --kafka kafka-1:9092
      busbridge devices set dev-00001 --file wanted.json --if-version 4 --config gw.toml --wait '5 min' --in-step
      busbridge devices set dev-00001 --remove --config gw.toml
      busbridge devices set dev-00001 --patch '{"interval_s": 5}' --local --config gw.toml
      busbridge devices set group/site=north '{"interval_s": 60}' --config gw.toml --wait '5 min'
    """
    import msgspec

    given = [name for name, value in (("JSON", state), ("--file", file), ("--patch", patch)) if value is not None]
    if len(given) + remove != 1:
        raise Failure("what is desired? One of JSON, --file, --patch and --remove", USAGE)
    if remove and version is not None:
        raise Failure("a removal has no version", USAGE)
    if in_step and (wait is None or local):
        raise Failure("--in-step goes with --wait, and not with --local", USAGE)
    _check_name(device, local=local)
    wanted = None if remove else read_object(patch or state, file, "--patch" if patch else "JSON")
    patience_s = duration(wait) if wait is not None else None
    topics = {"topic": topic, "desired_topic": desired_topic}
    if local:
        if kafka is not None or any(topics.values()):
            raise Failure("--local goes with neither --kafka nor topics", USAGE)
        done = desire_locally(
            directory_of(config, data_dir), device, wanted,
            patch=patch is not None, version=version, if_version=if_version, patience_s=patience_s or 0.0,
        )  # fmt: skip
    else:
        change = (device, wanted, patch is not None, version, if_version)
        done = _by_kafka(configured(config, kafka), topics, change, patience_s, in_step=in_step)
    typer.echo(msgspec.json.encode(done).decode() if as_json else _words(done))


def _check_name(device: str, *, local: bool) -> None:
    if device.startswith(GROUPS):
        if local:
            raise Failure("--local sets what is desired of one device; a group is every gateway's", USAGE)
        with plainly(BadLabels, code=USAGE):
            check_group(device.removeprefix(GROUPS))


def _by_kafka(
    cluster: tuple[Config, str],
    topics: dict[str, str | None],
    change: tuple[str, dict[str, Any] | None, bool, int | None, int | None],
    patience_s: float | None,
    *,
    in_step: bool,
) -> dict[str, object]:
    """`change`: what makes a `Change`."""
    import msgspec

    from bridge.cli.desired_setter import Change, carry_out
    from bridge.config import State

    loaded, whence = cluster
    target = topics["desired_topic"] or loaded.downlink.desired_topic
    if target is None:
        raise Failure(f"{whence} has no downlink.desired_topic: which topic do gateways read? (--desired-topic)", USAGE)
    state = loaded.state or State()
    bounds = msgspec.structs.replace(state, topic=topics["topic"] or state.topic)
    return carry_out(loaded, target, bounds, Change(*change), patience_s, in_step=in_step)


def _words(done: Mapping[str, object]) -> str:
    what = f"version {done['version']}" if done["version"] else "the removal"
    where = f"is in Kafka, partition {done['partition']}, offset {done['offset']}" if "offset" in done else ""
    after = {
        "kept": "is on the gateway's disk, on its way to Kafka",
        "written": where,
        "taken": f"{where}; its gateway has taken it over" if where else "was taken over",
        "in-step": f"{where}; the device reports it",
    }
    return f"{what} of {done['device']}'s desired state {after[str(done['outcome'])]}"
