"""`busbridge init`: a first configuration that works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.failure import USAGE, Failure, plainly

CONFIG_FILE = "busbridge.toml"
CERTS = "certs"

_TOML_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the gateway's files go.")],
    gateway_id: Annotated[str, typer.Option(help="Unique among all gateways that write to one Kafka.")],
    kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A Kafka broker; without one, records go to files.")
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(help="A DNS name or IP address that devices reach this gateway by; may be repeated."),
    ] = None,
    recipient: Annotated[
        list[Path] | None,
        typer.Option(metavar="NAME.pub", help="Seal payloads for this public key (see 'keys new'); may be repeated."),
    ] = None,
) -> None:
    """Write a first configuration that works: DIR/busbridge.toml, and DIR/certs with a device CA and the server's keys.

    Without --recipient the telemetry route is written with seal = "plain", and says so. Nothing that exists is
    overwritten.

    \b
    Examples:
      busbridge init gw --gateway-id gw-001 --kafka kafka-1:9092
      busbridge init gw --gateway-id gw-001 --recipient keys/data-team.pub
    """
    from bridge.cli.first_config import first_config
    from bridge.security.ca_directory import CaDirectory, CaError
    from bridge.security.pki import default_hosts

    _check(gateway_id, kafka)
    sealed_for = _public_keys(recipient or [])
    config, certs = directory / CONFIG_FILE, directory / CERTS
    _refuse_existing([config, *(certs / f"{name}.pub" for name in sealed_for)])
    with plainly(CaError), plainly(ValueError, code=USAGE):
        CaDirectory.create(certs, _ca_name(gateway_id), (*default_hosts(), *(host or ())))
        for name, text in sealed_for.items():
            (certs / f"{name}.pub").write_text(text, encoding="ascii")
        config.write_text(first_config(gateway_id, kafka, list(sealed_for)), encoding="utf-8")
    _tell(directory, sealed=bool(sealed_for))


def _check(gateway_id: str, kafka: str | None) -> None:
    from bridge.address import AddressError, split_address
    from bridge.config_file.rules import GATEWAY_ID, GATEWAY_ID_ALLOWED

    if not GATEWAY_ID.fullmatch(gateway_id):
        raise Failure(f"--gateway-id {gateway_id!r}: use {GATEWAY_ID_ALLOWED}", USAGE)
    try:
        if kafka is not None:
            split_address(kafka)
    except AddressError as error:
        raise Failure(f"--kafka {kafka!r} is {error}, such as kafka-1:9092", USAGE) from error


def _public_keys(paths: list[Path]) -> dict[str, str]:
    """Read the recipients' files by name; each must hold a public key, above all not a private one."""
    from bridge.security import keys

    texts: dict[str, str] = {}
    for path in paths:
        if not _TOML_BARE_KEY.match(path.stem) or path.stem in texts:
            raise Failure(f"--recipient {path}: the file's name is the recipient's: A-Z a-z 0-9 _ -, each once", USAGE)
        with plainly(keys.KeyFileError, code=USAGE):
            texts[path.stem] = keys.public_text(path.stem, keys.load_public(path))
    return texts


def _ca_name(gateway_id: str) -> str:
    name = f"busbridge device CA {gateway_id}"
    return name[:64]  # the longest common name that X.520 allows


def _refuse_existing(paths: list[Path]) -> None:
    for path in paths:
        if path.exists():
            raise Failure(f"{path} exists and is not overwritten; choose another directory")


def _tell(directory: Path, *, sealed: bool) -> None:
    config, certs = directory / CONFIG_FILE, directory / CERTS
    typer.echo(f"Wrote {config} and a device CA in {certs}. Keep {certs / 'ca.key'} from everybody.")
    if not sealed:
        typer.echo(f'Payloads are NOT sealed yet: {config} says how, at seal = "plain".')
    typer.echo(f"Next: busbridge certs issue dev-00001 --dir {certs} --out {directory / 'devices'}")
    typer.echo(f"      busbridge run --config {config}")
