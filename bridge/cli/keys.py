"""`busbridge keys`: recipients' key pairs for sealed payloads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.failure import plainly


def commands() -> typer.Typer:
    """Return the command group."""
    group = typer.Typer(no_args_is_help=True, help="Key pairs of those who may read sealed payloads.")
    group.callback()(lambda: None)
    group.command("new")(new)
    return group


def new(
    name: Annotated[str, typer.Argument(help="The recipient's name, such as data-team.")],
    out: Annotated[Path, typer.Option(help="The directory for NAME.pub and NAME.key.")],
    post_quantum: Annotated[
        bool,
        typer.Option("--post-quantum", help="ML-KEM-768 with X25519: also against who records now and decrypts later."),
    ] = False,
) -> None:
    """Make a recipient's key pair: NAME.pub for the gateways, NAME.key for the reader.

    Run it where the payloads are read, not on a gateway: a gateway that has no private key cannot give one away.
    Then name NAME.pub in the gateway's configuration.

    \b
    Example:
      busbridge keys new data-team --out keys
      # busbridge.toml:  \\[recipients.data-team]
      #                  public_key = "certs/data-team.pub"
    """
    from bridge.security import keys

    with plainly(keys.KeyFileError):
        public, private = keys.new(name, out, post_quantum)
    typer.echo(f"Made {public} (give it to gateways) and {private} (keep it: without it nothing sealed can be read).")
