"""`busbridge certs`: the site's device CA."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.failure import USAGE, Failure, plainly
from bridge.cli.output import print_rows

if TYPE_CHECKING:
    from bridge.security.ca_directory import Issued

PROGRESS_FROM = 50
"""Certificates from which on a progress bar is worth its flicker."""

Directory = Annotated[Path, typer.Option("--dir", help="The CA's directory, with ca.pem and ca.key.")]


def commands() -> typer.Typer:
    """Return the command group."""
    group = typer.Typer(no_args_is_help=True, help="The site's device CA: who may connect.")
    group.command("init")(init)
    group.command("issue")(issue)
    group.command("list")(list_issued)
    return group


def init(
    directory: Directory = Path("certs"),
    name: Annotated[str, typer.Option(help="The CA's common name.")] = "busbridge device CA",
    host: Annotated[
        list[str] | None,
        typer.Option(help="A DNS name or IP address that devices reach this gateway by; may be repeated."),
    ] = None,
) -> None:
    """Make a device CA, an empty revocation list, and the gateway's own server certificate.

    `busbridge init` does this too. The server certificate is for localhost and this machine's name, and for every
    --host: devices check it. Nothing that exists is overwritten.

    \b
    Example:
      busbridge certs init --dir certs --host gateway.site-7.example --host 10.7.0.2
    """
    from bridge.security.ca_directory import CaDirectory, CaError
    from bridge.security.pki import default_hosts

    with plainly(CaError), plainly(ValueError, code=USAGE):
        CaDirectory.create(directory, name, (*default_hosts(), *(host or ())))
    typer.echo(f"Made a CA in {directory}. Keep {directory}/ca.key from everybody; devices need {directory}/ca.pem.")


def issue(
    out: Annotated[Path, typer.Option(help="Where ID.pem is written for each device.")],
    devices: Annotated[list[str] | None, typer.Argument(metavar="DEVICE", help="Device ids.")] = None,
    count: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Make so many, named by --pattern.")] = None,
    pattern: Annotated[str, typer.Option(help="The device id for number 1, 2, …")] = "dev-%05d",
    days: Annotated[float | None, typer.Option(min=0.01, help="How long they hold; five years if left out.")] = None,
    directory: Directory = Path("certs"),
) -> None:
    """Issue device certificates: OUT/ID.pem holds certificate, CA certificate and private key.

    The device id is the certificate's name; the gateway knows the device by it, and its MQTT client id must be the
    same. An existing file is never overwritten.

    \b
    Examples:
      busbridge certs issue plc-7 pump-3 --out devices
      busbridge certs issue --count 500 --pattern 'dev-%05d' --out devices
    """
    from bridge.security.ca_directory import CaDirectory, CaError
    from bridge.security.identity import IdentityError
    from bridge.security.pki import Validity

    names = _names(devices or [], count or 0, pattern)
    validity = None if days is None else Validity.days(days)
    with plainly(CaError), plainly(IdentityError, code=USAGE), _progress(len(names)) as advance:
        CaDirectory.load(directory).issue(names, out, validity, advance)
    typer.echo(f"Issued {len(names)} certificate{'s' * (len(names) != 1)} in {out}.")


def list_issued(
    directory: Directory = Path("certs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List what the CA has issued: id, use, serial number, end, and whether it is valid, expired or revoked.

    \b
    Example:
      busbridge certs list --dir certs --json
    """
    from bridge.security.ca_directory import CaDirectory, CaError

    with plainly(CaError):
        ca = CaDirectory.load(directory)
        rows = _rows(ca.issued(), ca.revoked())
    print_rows(("id", "use", "serial", "not_after", "state"), rows, as_json=as_json)


def _rows(issued: Sequence[Issued], revoked: frozenset[str]) -> list[tuple[str, ...]]:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    return [
        (entry.id, entry.use, entry.serial, f"{entry.not_after:%Y-%m-%dT%H:%M:%SZ}", entry.state(revoked, now))
        for entry in issued
    ]


def _names(devices: list[str], count: int, pattern: str) -> list[str]:
    if bool(devices) == bool(count):
        raise Failure("name the devices, or say how many with --count (and not both)", USAGE)
    if devices:
        return devices
    try:
        names = [pattern % number for number in range(1, count + 1)]
    except (TypeError, ValueError) as error:
        raise Failure(f"--pattern {pattern!r} needs exactly one number in it, such as 'dev-%05d'", USAGE) from error
    return names


def _progress(total: int) -> AbstractContextManager[Callable[[str], None]]:
    if total < PROGRESS_FROM or not sys.stderr.isatty():
        return nullcontext(lambda device: None)
    return _progress_bar(total)


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[str], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Issuing", total=total)
        yield lambda device: progress.advance(task)
