"""`busbridge certs`: the site's device CA."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli import certs_devices
from bridge.cli.certs_devices import Directory
from bridge.cli.failure import USAGE, Failure, plainly
from bridge.cli.output import print_rows

if TYPE_CHECKING:
    from bridge.security.ca_directory import Issued


class Reason(StrEnum):
    """Why a certificate is revoked (RFC 5280 §5.3.1)."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    AFFILIATION_CHANGED = "affiliationChanged"


def commands() -> typer.Typer:
    """Return the command group."""
    group = typer.Typer(no_args_is_help=True, help="The site's device CA: who may connect.")
    group.command("init")(init)
    group.command("issue")(certs_devices.issue)
    group.command("sign")(certs_devices.sign)
    group.command("renew")(certs_devices.renew)
    group.command("revoke")(revoke)
    group.command("list")(list_issued)
    group.command("export")(certs_devices.export)
    return group


def init(
    directory: Directory = Path("certs"),
    name: Annotated[str, typer.Option(help="The CA's common name.")] = "busbridge device CA",
    host: Annotated[
        list[str] | None,
        typer.Option(help="A DNS name or IP address that devices reach this gateway by; may be repeated."),
    ] = None,
    root: Annotated[bool, typer.Option("--root", help="Make a CA above the sites' CAs; it has no server.")] = False,
    below: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Have this CA signed by the one in DIR, made with --root.")
    ] = None,
) -> None:
    """Make a device CA, an empty revocation list, and the gateway's own server certificate.

    `busbridge init` does this too. The server certificate is for localhost and this machine's name, and for every
    --host: devices check it. Nothing that exists is overwritten.

    \b
    Example:
      busbridge certs init --dir certs --host gateway.site-7.example --host 10.7.0.2
      busbridge certs init --dir root --root --name 'Example Works devices'
      busbridge certs init --dir site-7 --below root --name 'Example Works site 7'
    """
    from bridge.security.ca_directory import CaDirectory, CaError
    from bridge.security.pki import default_hosts

    if root and (host or below is not None):
        raise Failure("a --root CA has neither a server nor a CA above it", USAGE)
    with plainly(CaError), plainly(ValueError, code=USAGE):
        if root:
            CaDirectory.create_root(directory, name)
        else:
            above = CaDirectory.load(below) if below is not None else None
            CaDirectory.create(directory, name, (*default_hosts(), *(host or ())), above=above)
    typer.echo(f"Made a CA in {directory}. Keep {directory}/ca.key from everybody; devices need {directory}/ca.pem.")
    if below is not None:
        typer.echo(f'Let only its own devices in: client_ca = "{directory}/client-ca.pem" in the configuration.')


def revoke(
    devices: Annotated[list[str], typer.Argument(metavar="DEVICE", help="Device ids, or serial numbers (hex).")],
    reason: Annotated[Reason, typer.Option(help="Why; it stands in the list.")] = Reason.UNSPECIFIED,
    directory: Directory = Path("certs"),
) -> None:
    """Put certificates on the revocation list, DIR/crl.pem: every valid one of a device, or one by its serial number.

    A gateway whose configuration names that file notices within a second: the devices are out, and stay out. Where the
    CA is not on the gateway, copy crl.pem there.

    \b
    Examples:
      busbridge certs revoke dev-00017 --reason keyCompromise --dir certs
      busbridge certs revoke 5D2F11A09C7E --dir certs
    """
    from bridge.security.ca_directory import CRL, CaDirectory, CaError

    with plainly(CaError):
        revoked = CaDirectory.load(directory).revoke(devices, reason.value)
    for entry in revoked:
        typer.echo(f"revoked {entry.id}, serial number {entry.serial}")
    typer.echo(f"{directory / CRL} is the list; a gateway that reads another copy needs this one.")


def list_issued(
    directory: Directory = Path("certs"),
    expiring: Annotated[
        float | None, typer.Option(metavar="DAYS", min=0, help="Only valid ones that end within so many days.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List what the CA has issued: id, use, serial number, end, whether it is valid, expired or revoked, and its OUs.

    \b
    Examples:
      busbridge certs list --dir certs --json
      busbridge certs list --dir certs --expiring 60
    """
    from datetime import UTC, datetime, timedelta

    from bridge.security.ca_directory import CaDirectory, CaError

    with plainly(CaError):
        ca = CaDirectory.load(directory)
        issued, revoked = ca.issued(), ca.revoked()
    if expiring is not None:
        now = datetime.now(UTC)
        limit = now + timedelta(days=expiring)
        issued = [entry for entry in issued if entry.state(revoked, now) == "valid" and entry.not_after <= limit]
    rows = _rows(issued, revoked)
    print_rows(("id", "use", "serial", "not_after", "state", "ou"), rows, as_json=as_json)


def _rows(issued: Sequence[Issued], revoked: frozenset[str]) -> list[tuple[str, ...]]:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    return [
        (
            entry.id,
            entry.use,
            entry.serial,
            f"{entry.not_after:%Y-%m-%dT%H:%M:%SZ}",
            entry.state(revoked, now),
            ", ".join(entry.units),
        )
        for entry in issued
    ]
