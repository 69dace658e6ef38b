"""The admin side's ports: a local socket in the data directory for `busbridge status`, and HTTP where `[admin]` says.

Both tell the same, but for devices over HTTP a token is asked for. Nothing here is said to whom the file's
permissions, or the address, do not let in.
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
from bridge.admin.devices import DevicePages, Fleet, say
from bridge.admin.health import Verdict, judge
from bridge.admin.http import Answer, HttpServer, Page, Request
from bridge.admin.local_socket import SOCKET, reachable
from bridge.admin.report import Report
from bridge.admin.status import Status
from bridge.admin.token import Token
from bridge.config import Admin
from bridge.credentials import SecretError

if TYPE_CHECKING:
    from bridge.admin.metrics import Metrics


class CannotServe(Exception):
    """The admin side's address cannot be used; says which and why."""


class AdminServer:
    """Both ports, from `start` to `stop`."""

    def __init__(
        self, settings: Admin, data_dir: Path, status: Callable[[], Status], fleet: Fleet | None = None
    ) -> None:
        """Args:
        settings: address and what counts as a concern.
        data_dir: where the local socket lies.
        status: says how things are now; called for each request.
        fleet: knows the devices; None: there are no documents here.

        Raises:
            CannotServe: the token cannot be used.
        """
        self._settings = settings
        self._directory = data_dir
        self._status = status
        self._metrics: Metrics | None = None
        try:
            self._token = Token(settings.token_file) if settings.token_file is not None else None
        except SecretError as error:
            raise CannotServe(f"admin.token_file: {error}") from error
        pages: dict[tuple[str, str], Page] = {
            ("GET", "/health/live"): self._live,
            ("GET", "/health/ready"): self._ready,
            ("GET", "/metrics"): self._exposition,
            ("GET", "/status"): self._report,
        }
        if fleet is not None:
            pages |= DevicePages(settings, fleet, self._refusal).pages()
        self._http = HttpServer(
            pages,
            silence_s=settings.keepalive,
            request_bytes=settings.request_bytes,
            connections=settings.connections,
        )
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Listens.

        Raises:
            CannotServe: an address is taken or not ours.
        """
        try:
            self._servers.append(await asyncio.start_unix_server(self._http.talk_locally, sock=self._local_socket()))
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

    def _refusal(self, request: Request) -> Answer | None:
        """For who may not see devices; None: he may."""
        if request.local:
            return None
        if self._token is None:
            return say(403, {"error": "devices are told over the local socket only: there is no admin.token_file"})
        if self._token.lets_in(request.headers.get("authorization", "")):
            return None
        words = 'Bearer realm="busbridge"' + (', error="invalid_token"' if "authorization" in request.headers else "")
        refusal = say(401, {"error": "this needs the token of admin.token_file: Authorization: Bearer TOKEN"})
        return refusal._replace(headers=(("WWW-Authenticate", words),))

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
