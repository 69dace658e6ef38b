"""The running daemon, asked over the socket in its data directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
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
Local = Annotated[
    bool,
    typer.Option("--local", help="Ask the gateway's daemon on this machine (--config, --data-dir), not Kafka."),
]
_TIMEOUT_S = 10.0


def directory_of(config: Path | None, data_dir: Path | None) -> Path:
    """The data directory of the daemon that is meant."""
    return data_dir or (load_config(config).gateway.data_dir if config is not None else Gateway("").data_dir)


def ask(path: str, config: Path | None, data_dir: Path | None) -> bytes:
    """The body of what the daemon answers to GET `path`.

    Raises:
        Failure: no daemon answers there.
    """
    return request(directory_of(config, data_dir), "GET", path)[1]


def request(
    directory: Path,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> tuple[int, bytes]:
    """Status and body of the daemon's answer. Raises Failure: no daemon answers there."""
    import http.client
    import socket

    from bridge.admin.local_socket import reachable

    connection = http.client.HTTPConnection("daemon", timeout=timeout_s)
    with answering(directory), contextlib.closing(connection), reachable(directory) as name:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout_s)
        connection.sock.connect(name)
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()


@contextlib.contextmanager
def answering(directory: Path) -> Iterator[None]:
    """Turn what goes wrong with the daemon's socket into a Failure."""
    try:
        yield
    except TimeoutError as error:
        raise Failure(f"the daemon of {directory} does not answer", FAILED) from error
    except PermissionError as error:
        raise Failure(
            f"{directory}: this user may not ask its daemon; try the daemon's own, or root", FAILED
        ) from error
    except OSError as error:
        raise Failure(f"no daemon is running on {directory} (--config or --data-dir names another)", FAILED) from error
