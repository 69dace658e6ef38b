"""`busbridge users`: who comes with a password."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.failure import USAGE, Failure, plainly

_PASSWORD_BYTES_MIN = 8


def commands() -> typer.Typer:
    """Return the command group."""
    group = typer.Typer(no_args_is_help=True, help="Devices that come with a password instead of a certificate.")
    group.callback()(lambda: None)
    group.command("add")(add)
    return group


def add(
    name: Annotated[str, typer.Argument(help="The user name, which is the device id.")],
    file: Annotated[
        Path | None, typer.Option("--file", help="The users file to put it into; else the line is printed.")
    ] = None,
) -> None:
    """Make a user's line for the users file: NAME and the Argon2id hash of a password.

    The password is asked for on a terminal; else it is the first line of standard input. A user who is in the file
    already gets the new password. A running gateway takes the file into use by itself.

    \b
    Example:
      busbridge users add panel-1 --file /etc/busbridge/users
      openssl rand -base64 24 | tee panel-1.secret | busbridge users add panel-1 --file users
    """
    from bridge.security.identity import IdentityError, check_device_id
    from bridge.security.users import UsersError, hashed, put_user

    with plainly(IdentityError, code=USAGE):
        check_device_id(name)
    password = _password()
    if len(password) < _PASSWORD_BYTES_MIN:
        raise Failure(f"the password has fewer than {_PASSWORD_BYTES_MIN} bytes", USAGE)
    phc = hashed(password)
    if file is None:
        typer.echo(f"{name}:{phc}")
        return
    with plainly(UsersError):
        known = put_user(file, name, phc)
    typer.echo(f"{name} has {'another' if known else 'a'} password in {file}.")


def _password() -> bytes:
    if sys.stdin.isatty():
        asked: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return asked.encode()
    return sys.stdin.buffer.readline().rstrip(b"\r\n")
