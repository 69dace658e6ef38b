"""`busbridge devices label`: what devices are called, so that they can be told things as a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from bridge.cli.cluster import ConfigFile, Server, configured
from bridge.cli.device_view import Topic
from bridge.cli.failure import USAGE, Failure
from bridge.cli.loading import duration


def label(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="DEVICE... KEY=VALUE... KEY-...", help="Devices, labels to set, and labels to take off."
        ),
    ],
    config: ConfigFile = None,
    kafka: Server = None,
    wait: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Until gateways have taken them over, for example '30 s'.")
    ] = None,
    topic: Topic = None,
    desired_topic: Annotated[
        str | None, typer.Option(help="Else as the configuration says, or device-desired.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object: labels by device.")] = False,
) -> None:
    """Set labels of devices and take labels off; other labels stay. A device is in the group KEY=VALUE of each label.

    A device that no gateway knows yet has them when it comes. What is said to a group: `devices set group/KEY=VALUE`,
    `devices send group/KEY=VALUE`; the group of all devices is group/all.

    \b
    Examples:
      busbridge devices label dev-00001 dev-00002 site=north model=x1 --config gw.toml --wait '30 s'
      busbridge devices label dev-00001 site- --kafka kafka-1:9092
    """
    import msgspec

    from bridge.cli.labeller import carry_out
    from bridge.cli.output import print_rows
    from bridge.config import State

    devices, added, removed = _sorted(words)
    loaded, whence = configured(config, kafka)
    target = desired_topic or loaded.downlink.desired_topic
    if target is None:
        raise Failure(f"{whence} has no downlink.desired_topic: which topic do gateways read? (--desired-topic)", USAGE)

    def change(labels: dict[str, str]) -> dict[str, str]:
        return {key: value for key, value in (labels | added).items() if key not in removed}

    state_topic = topic or (loaded.state or State()).topic
    done = carry_out(loaded, target, state_topic, devices, change, duration(wait) if wait is not None else None)
    if as_json:
        typer.echo(msgspec.json.encode(done).decode())
        return
    rows = [(device, " ".join(f"{key}={value}" for key, value in sorted(done[device].items()))) for device in done]
    print_rows(("device", "labels"), rows, as_json=False)


def _sorted(words: Sequence[str]) -> tuple[list[str], dict[str, str], set[str]]:
    """Devices, labels to set, and keys of labels to take off. Raises Failure."""
    added = dict(word.split("=", 1) for word in words if "=" in word)
    removed = {word[:-1] for word in words if "=" not in word and word.endswith("-")}
    devices = list(dict.fromkeys(word for word in words if "=" not in word and not word.endswith("-")))
    if not devices or not (added or removed):
        raise Failure("which devices, and which labels? For example: dev-00001 dev-00002 site=north old-", USAGE)
    if both := sorted(added.keys() & removed):
        raise Failure(f"{both[0]} is to be set and to be taken off", USAGE)
    return devices, added, removed
