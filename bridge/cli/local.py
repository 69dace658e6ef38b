"""The running daemon, asked over the socket in its data directory."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.failure import FAILED, Failure
from bridge.cli.loading import load_config
from bridge.config import Gateway

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="The daemon's configuration file: it says where the data directory is.")
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The daemon's data directory, instead.")]
_TIMEOUT_S = 10.0


def ask(path: str, config: Path | None, data_dir: Path | None) -> bytes:
    """The body of what the daemon answers to GET `path`.

    Raises:
        Failure: no daemon answers there.
    """
    directory = data_dir or (load_config(config).gateway.data_dir if config is not None else Gateway("").data_dir)
    try:
        return _get(directory, path)
    except TimeoutError as error:
        raise Failure(f"the daemon of {directory} does not answer", FAILED) from error
    except PermissionError as error:
        raise Failure(
            f"{directory}: this user may not ask its daemon; try the daemon's own, or root", FAILED
        ) from error
    except OSError as error:
        raise Failure(f"no daemon is running on {directory} (--config or --data-dir names another)", FAILED) from error


def _get(directory: Path, path: str) -> bytes:
    import http.client
    import socket

    from bridge.admin.local_socket import reachable

    connection = http.client.HTTPConnection("daemon", timeout=_TIMEOUT_S)
    with contextlib.closing(connection), reachable(directory) as name:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(_TIMEOUT_S)
        connection.sock.connect(name)
        connection.request("GET", path)
        return connection.getresponse().read()
