"""`busbridge run` and `busbridge check`: the daemon, and a look at what it would run with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.failure import FOUND, Failure
from bridge.cli.loading import load_config

if TYPE_CHECKING:
    from bridge.config import Config, Kafka, Listener

ConfigFile = Annotated[Path, typer.Option("--config", help="The configuration file (TOML).")]
Topic = Annotated[
    str | None, typer.Option("--route", metavar="TOPIC", help="Say what becomes of a message on this MQTT topic.")
]
Device = Annotated[str, typer.Option("--device", help="Who publishes it; with --route.")]
Payload = Annotated[Path | None, typer.Option("--payload", help="A file with its payload; with --route.")]
Access = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--acl", metavar="DEVICE TOPIC", help="Say whether the device may publish there, and which rule decides."
    ),
]
Subscribe = Annotated[bool, typer.Option("--subscribe", help="Whether it may subscribe to it; with --acl.")]
Roles = Annotated[
    list[str] | None,
    typer.Option("--role", help="A role it has by its certificate, beside the members file; with --acl."),
]
Connect = Annotated[bool, typer.Option("--connect", help="Go to Kafka, too: log in, topics, transactions.")]


def run(config: ConfigFile) -> None:
    """Run the gateway in the foreground. SIGTERM and Ctrl-C stop it cleanly.

    \b
    Example:
      busbridge run --config /etc/busbridge/busbridge.toml
    """
    loaded = load_config(config)
    from bridge.device_side import daemon

    raise typer.Exit(daemon.run(loaded, config))


def check(
    config: ConfigFile,
    connect: Connect = False,
    route: Topic = None,
    device: Device = "",
    payload: Payload = None,
    acl: Access = None,
    subscribe: Subscribe = False,
    role: Roles = None,
) -> None:
    """Read the configuration and every file it names, and say what was found. Exit code 3: something is wrong.

    \b
    Example:
      busbridge check --config busbridge.toml
      busbridge check --config busbridge.toml --connect
      busbridge check --config busbridge.toml --route devices/dev-1/telemetry/t --device dev-1 --payload sample.json
      busbridge check --config busbridge.toml --acl dev-1 devices/dev-1/telemetry/t
      busbridge check --config busbridge.toml --acl dev-1 'broadcast/#' --subscribe --role operator
    """
    loaded = load_config(config)
    if acl is not None:
        from bridge.cli.explain_acl import explain_acl

        explain_acl(loaded, *acl, subscribe=subscribe, named=role or [])
        return
    if route is not None:
        from bridge.cli.explain_route import explain_route

        explain_route(loaded, route, device, payload)
        return
    from bridge.config_file import warnings

    typer.echo(f"gateway {loaded.gateway.id}, data in {loaded.gateway.data_dir}")
    for line in _summary(loaded):
        typer.echo(line)
    for warning in warnings(loaded):
        typer.echo(f"warning: {warning}")
    wrong = _broken_files(loaded)
    if connect and loaded.kafka is not None:
        wrong += _out_of_reach(loaded, loaded.kafka)
    if wrong:
        raise Failure("; ".join(wrong), FOUND)
    typer.echo("All well.")


def _summary(config: Config) -> list[str]:
    from bridge.cli.explain_route import sealing

    listeners = [f"listens on {each.bind} ({_security(each)})" for each in config.listeners]
    routes = [f"{route.filter} goes to {route.topic}, lane {route.lane}, {sealing(route)}" for route in config.routes]
    return listeners + routes + [_sink(config)]


def _security(listener: Listener) -> str:
    if listener.tls is None:
        return "no TLS"
    by = set(listener.authentication)
    return "mutual TLS" if by == {"certificate"} else f"TLS, devices by {' or '.join(listener.authentication)}"


def _sink(config: Config) -> str:
    if config.kafka is not None:
        return f"forwards to Kafka at {', '.join(config.kafka.bootstrap_servers)} ({config.kafka.delivery})"
    if config.jsonl is not None:
        return f"forwards to files in {config.jsonl.directory}"
    return "forwards nothing: a local MQTT broker"


def _out_of_reach(config: Config, kafka: Kafka) -> list[str]:
    from bridge.bus_side.reach import reach

    answers = reach(config, kafka)
    for answer in answers:
        if answer.well:
            typer.echo(answer.text)
    return [answer.text for answer in answers if not answer.well]


def _broken_files(config: Config) -> list[str]:
    from bridge.device_side.accounts import Accounts
    from bridge.device_side.listener import asks
    from bridge.log.key_files import KeyUnusable, keys_of
    from bridge.schemas import of_routes
    from bridge.security import keys, members, tls
    from bridge.security.tokens import KeysError
    from bridge.security.users import UsersError

    wrong = []
    try:
        keys_of(config.queue, os.environ)
    except KeyUnusable as error:
        wrong.append(str(error))
    try:
        members.read_members(config.permissions)
    except members.MembersError as error:
        wrong.append(f"acl: {error}")
    try:
        Accounts(config)
    except (KeysError, UsersError) as error:
        wrong.append(str(error))
    for listener in config.listeners:
        try:
            if listener.tls is not None:
                tls.server_context(listener.tls, asks(listener))
        except OSError as error:
            wrong.append(f"listener {listener.bind}: its certificate, key, client_ca or crl cannot be used: {error}")
    for name, recipient in config.recipients.items():
        try:
            keys.load_public(recipient.public_key)
        except keys.KeyFileError as error:
            wrong.append(f"recipient {name}: {error}")
    wrong += _unusable_secrets(config)
    wrong += [f"route {route}: its schema {problem}" for route, problem in of_routes.problems(config)]
    return wrong


def _unusable_secrets(config: Config) -> list[str]:
    """Of Kafka, of the schema registry, and of the admin side."""
    from bridge.admin.token import read_token
    from bridge.credentials import SecretError, refuse_if_public, secret, secret_path

    wrong = []
    security = config.kafka.security if config.kafka is not None else None
    files = [security.password_file, security.client_secret_file] if security is not None else []
    files += [config.schema_registry.password_file] if config.schema_registry is not None else []
    for file in files:
        try:
            if file is not None:
                secret(file, os.environ)
        except SecretError as error:
            wrong.append(str(error))
    try:
        if config.admin.token_file is not None:
            read_token(config.admin.token_file, os.environ)
    except SecretError as error:
        wrong.append(f"admin.token_file: {error}")
    if security is not None and security.private_key is not None:
        try:
            refuse_if_public(secret_path(security.private_key, os.environ))
        except OSError as error:
            wrong.append(str(error))
    return wrong
