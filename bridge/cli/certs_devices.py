"""`busbridge certs issue`, `sign`, `renew` and `export`: the certificates of devices, and of the gateway itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.failure import USAGE, Failure, plainly

PROGRESS_FROM = 50
"""Certificates from which on a progress bar is worth its flicker."""

Directory = Annotated[Path, typer.Option("--dir", help="The CA's directory, with ca.pem and ca.key.")]
Unit = Annotated[
    list[str] | None,
    typer.Option(
        "--ou",
        metavar="ROLE",
        help="An organizational unit in the certificate: a role of `acl.roles`; may be repeated.",
    ),
]
Days = Annotated[float | None, typer.Option(min=0.01, help="How long they hold; five years if left out.")]


def issue(
    out: Annotated[Path, typer.Option(help="Where ID.pem is written for each device.")],
    devices: Annotated[list[str] | None, typer.Argument(metavar="DEVICE", help="Device ids.")] = None,
    count: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Make so many, named by --pattern.")] = None,
    pattern: Annotated[str, typer.Option(help="The device id for number 1, 2, …")] = "dev-%05d",
    unit: Unit = None,
    days: Days = None,
    directory: Directory = Path("certs"),
) -> None:
    """Issue device certificates: OUT/ID.pem holds certificate, CA certificate and private key.

    The device id is the certificate's name; the gateway knows the device by it, and its MQTT client id must be the
    same. An existing file is never overwritten.

    \b
    Examples:
      busbridge certs issue plc-7 pump-3 --out devices
      busbridge certs issue --count 500 --pattern 'dev-%05d' --out devices
      busbridge certs issue panel-1 --ou Operations --out devices
    """
    from bridge.security.ca_directory import CaDirectory, CaError
    from bridge.security.identity import IdentityError
    from bridge.security.pki import Validity

    names = _names(devices or [], count or 0, pattern)
    validity = None if days is None else Validity.days(days)
    with plainly(CaError), plainly(IdentityError, ValueError, code=USAGE), _progress(len(names)) as advance:
        CaDirectory.load(directory).issue(names, out, validity, advance, unit or ())
    typer.echo(f"Issued {len(names)} certificate{'s' * (len(names) != 1)} in {out}.")


def sign(
    requests: Annotated[list[Path], typer.Argument(metavar="REQUEST", help="Certificate requests, PEM or DER.")],
    out: Annotated[Path, typer.Option(help="Where ID.pem is written for each: certificate and CA, no key.")],
    device: Annotated[str | None, typer.Option("--id", help="The device id, whatever the request says.")] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Write in the place of an older certificate; its OUs are kept.")
    ] = False,
    unit: Unit = None,
    requested: Annotated[
        bool, typer.Option("--ou-as-requested", help="Grant the OUs that the requests ask for: look at them first.")
    ] = False,
    days: Days = None,
    directory: Directory = Path("certs"),
) -> None:
    """Sign certificate requests (PKCS #10), so that a device's private key never leaves the device.

    The device id is the request's common name, or its URI urn:busbridge:device:ID. What else a request asks for is not
    granted: the certificate is for a device of this site and for nothing else. Organizational units may be roles, so
    they are yours to give (--ou), and a request's own only where you say so (--ou-as-requested).

    \b
    Example, on the device and then beside the CA:
      openssl ecparam -name prime256v1 -genkey -noout -out plc-7.key
      openssl req -new -key plc-7.key -subj /CN=plc-7 -out plc-7.csr
      busbridge certs sign plc-7.csr --out devices
    """
    from bridge.security.ca_directory import CaDirectory, CaError
    from bridge.security.identity import IdentityError
    from bridge.security.pki import Validity
    from bridge.security.request import RequestError, read_request

    if device is not None and len(requests) > 1:
        raise Failure("--id names one device, and there are more requests", USAGE)
    if unit and requested:
        raise Failure("--ou says which organizational units; --ou-as-requested says others", USAGE)
    with plainly(CaError), plainly(ValueError, code=USAGE):
        ca = CaDirectory.load(directory)
        kept = ca.units() if renew else {}
        read = []
        for path in requests:
            with plainly():
                data = path.read_bytes()
            try:
                asked = read_request(data, device)
            except (RequestError, IdentityError) as error:
                raise Failure(f"{path}: {error}") from error
            granted = tuple(unit) if unit else kept.get(asked.device, ())
            read.append(asked if requested else asked._replace(units=granted))
        paths = ca.sign(read, out, None if days is None else Validity.days(days), renewing=renew)
    for written in paths:
        typer.echo(f"signed {written}")


def renew(
    out: Annotated[Path | None, typer.Option(help="Where the devices' ID.pem are, to be replaced.")] = None,
    devices: Annotated[list[str] | None, typer.Argument(metavar="DEVICE", help="Device ids.")] = None,
    expiring: Annotated[
        float | None, typer.Option(metavar="DAYS", min=0, help="Every device whose last certificate ends by then.")
    ] = None,
    server: Annotated[bool, typer.Option("--server", help="The gateway's own: DIR/server.pem and server.key.")] = False,
    unit: Unit = None,
    days: Days = None,
    directory: Directory = Path("certs"),
) -> None:
    """Renew certificates: a new key and a new end, under the same name. The old ones stay good until they end.

    The organizational units (roles) are those of the device's last certificate; --ou says others instead.

    A running gateway takes its own renewed certificate into use by itself. A device that keeps its key to itself is
    renewed by `sign --renew`.

    \b
    Examples:
      busbridge certs renew plc-7 --out devices
      busbridge certs renew --expiring 60 --out devices
      busbridge certs renew --server
    """
    from bridge.security.ca_directory import SERVER, SERVER_KEY, CaDirectory, CaError
    from bridge.security.identity import IdentityError
    from bridge.security.pki import Validity

    if server == bool(devices or expiring is not None) or (server and unit):
        raise Failure("name devices, or say --expiring DAYS, or --server (which has no --ou)", USAGE)
    validity = None if days is None else Validity.days(days)
    with plainly(CaError), plainly(IdentityError, ValueError, code=USAGE):
        ca = CaDirectory.load(directory)
        if server:
            new = ca.renew_server(directory / SERVER, directory / SERVER_KEY, validity)
            typer.echo(f"Renewed {directory / SERVER}: it ends {new.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}.")
            return
        if out is None:
            raise Failure("--out says where the devices' ID.pem are", USAGE)
        names = devices or ca.ending_within(expiring or 0.0)
        with _progress(len(names)) as advance:
            ca.renew(names, out, validity, advance, unit)
    typer.echo(f"Renewed {len(names)} certificate{'s' * (len(names) != 1)} in {out}.")


def export(
    bundle: Annotated[Path, typer.Argument(help="A file with certificate and key, as `issue` writes it.")],
    out: Annotated[Path, typer.Option(help="The file to write, for example plc-7.p12.")],
    password_file: Annotated[
        Path | None, typer.Option(help="A file with the password that opens it; without one it is asked for.")
    ] = None,
) -> None:
    """Write certificate, key and CA as one PKCS #12 file, which many firmware tools want.

    \b
    Example:
      busbridge certs export devices/plc-7.pem --out plc-7.p12 --password-file secret
    """
    from bridge.durable import replace_file
    from bridge.security.pkcs12 import BundleError, pkcs12

    with plainly(BundleError):
        if password_file is not None:
            password = password_file.read_text().rstrip("\r\n")
        else:
            password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        if out.exists():
            raise Failure(f"{out} exists and is not overwritten")
        replace_file(out, pkcs12(bundle.read_bytes(), bundle.stem, password), 0o600)
    typer.echo(f"Wrote {out}; whoever has it and the password is the device.")


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
