"""The admin side's ports: a local socket in the data directory for `busbridge status`, and HTTP where `[admin]` says.

Both tell the same. Nothing here is said to whom the file's permissions, or the address, do not let in.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bridge.address import split_address
from bridge.admin.health import Verdict, judge
from bridge.admin.http import Answer, HttpServer, Request
from bridge.admin.local_socket import SOCKET, reachable
from bridge.admin.report import Report
from bridge.admin.status import Status
from bridge.config import Admin

if TYPE_CHECKING:
    from bridge.admin.metrics import Metrics


class CannotServe(Exception):
    """The admin side's address cannot be used; says which and why."""


class AdminServer:
    """Both ports, from `start` to `stop`."""

    def __init__(self, settings: Admin, data_dir: Path, status: Callable[[], Status]) -> None:
        """Args:
        settings: address and what counts as a concern.
        data_dir: where the local socket lies.
        status: says how things are now; called for each request.
        """
        self._settings = settings
        self._directory = data_dir
        self._status = status
        self._metrics: Metrics | None = None
        pages = {
            ("GET", "/health/live"): self._live,
            ("GET", "/health/ready"): self._ready,
            ("GET", "/metrics"): self._exposition,
            ("GET", "/status"): self._report,
        }
        self._http = HttpServer(pages, silence_s=settings.keepalive, request_bytes=settings.request_bytes)
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Listens.

        Raises:
            CannotServe: an address is taken or not ours.
        """
        try:
            self._servers.append(await asyncio.start_unix_server(self._http.talk, sock=self._local_socket()))
            if self._settings.bind is not None:
                host, port = split_address(self._settings.bind)
                self._servers.append(await asyncio.start_server(self._http.talk, host, port))
        except OSError as error:
            address = self._settings.bind if self._servers else self._directory / SOCKET
            await self.stop()
            raise CannotServe(f"the admin side cannot listen on {address}: {error.strerror or error}") from error

    @property
    def addresses(self) -> tuple[str, ...]:
        """HOST:PORT of the HTTP port, if there is one."""
        names = [sock.getsockname() for server in self._servers for sock in server.sockets]
        return tuple(f"{name[0]}:{name[1]}" for name in names if isinstance(name, tuple))

    async def stop(self) -> None:
        """Closes both ports and takes the socket's file away; on a disk that is read-only by now it stays."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        await self._http.stop()
        with contextlib.suppress(OSError):
            self._remove_socket()

    def _local_socket(self) -> socket.socket:
        """Bound, and its owner's alone before anybody can connect."""
        self._remove_socket()
        bound = socket.socket(socket.AF_UNIX)
        try:
            with reachable(self._directory) as path:
                bound.bind(path)
                Path(path).chmod(0o600)
        except OSError:
            bound.close()
            raise
        return bound

    def _remove_socket(self) -> None:
        """Ours, or what a daemon left that was killed: the directory's lock is held."""
        (self._directory / SOCKET).unlink(missing_ok=True)

    def _verdict(self, status: Status) -> Verdict:
        return judge(status, self._settings.expiry_warning)

    async def _live(self, _request: Request) -> Answer:
        """The event loop turns: that is all it says, so that a full disk does not get the daemon restarted."""
        return Answer(b'{"live": true}')

    async def _ready(self, _request: Request) -> Answer:
        verdict = self._verdict(self._status())
        return Answer(msgspec.json.encode(verdict), 200 if verdict.ready else 503)

    async def _exposition(self, _request: Request) -> Answer:
        if self._metrics is None:
            self._metrics = await asyncio.to_thread(_load_metrics)
        status = self._status()
        body = self._metrics.render(status, self._verdict(status))
        return Answer(body, content_type=self._metrics.content_type)

    async def _report(self, _request: Request) -> Answer:
        status = self._status()
        return Answer(msgspec.json.encode(Report(self._verdict(status), status)))


def _load_metrics() -> Metrics:
    """Only where somebody reads them is their library loaded; beside the loop, for that takes a while."""
    from bridge.admin.metrics import Metrics

    return Metrics()
