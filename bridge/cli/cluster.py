"""Which Kafka a command speaks to, and which topics: a gateway's configuration file says it, or the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.failure import USAGE, Failure
from bridge.cli.loading import load_config

if TYPE_CHECKING:
    from bridge.config import Config

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Any gateway's configuration file: it says how to get into Kafka, and the topics."),
]
Server = Annotated[
    str | None,
    typer.Option("--kafka", metavar="HOST:PORT", help="Kafka, without TLS and log-in, instead of --config."),
]


def configured(config: Path | None, server: str | None) -> tuple[Config, str]:
    """The configuration that says where Kafka is, and a name for it in messages.

    With `server`, it has the topics that docs/configuration.md calls usual.

    Raises:
        Failure: neither or both are given, or there is no Kafka in the file.
    """
    if (config is None) == (server is None):
        raise Failure("where is Kafka? --config FILE, a gateway's configuration, or --kafka HOST:PORT", USAGE)
    if config is not None:
        loaded = load_config(config)
        if loaded.kafka is None:
            raise Failure(f"{config} has no [kafka]: its documents leave the gateway for no topic", USAGE)
        return loaded, str(config)
    from bridge.address import AddressError, split_address
    from bridge.config import Config, Downlink, Gateway, Kafka, State

    assert server is not None
    try:
        split_address(server)
    except AddressError as error:
        raise Failure(f"--kafka {server}: {error}", USAGE) from error
    usual = Downlink(desired_topic="device-desired", command_topic="device-commands")
    return Config(Gateway("busbridge"), kafka=Kafka((server,)), state=State(), downlink=usual), "--kafka"
