"""The admin side's ports: a local socket in the data directory for `busbridge status`, and HTTP where `[admin]` says.

Both tell the same. Nothing here is said to whom the file's permissions, or the address, do not let in.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from bridge.address import split_address
from bridge.admin.health import Verdict, judge
from bridge.admin.local_socket import SOCKET, reachable
from bridge.admin.metrics import Metrics
from bridge.admin.status import Status
from bridge.config import Admin

_JSON = "application/json"


class CannotServe(Exception):
    """The admin side's address cannot be used; says which and why."""


class Report(msgspec.Struct):
    """What `/status` answers: the status, and what it amounts to."""

    verdict: Verdict
    status: Status


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
        self._metrics = Metrics()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listens.

        Raises:
            CannotServe: an address is taken or not ours.
        """
        application = web.Application(client_max_size=self._settings.request_bytes)
        application.add_routes([
            web.get("/health/live", self._live),
            web.get("/health/ready", self._ready),
            web.get("/metrics", self._exposition),
            web.get("/status", self._report),
        ])  # fmt: skip
        self._runner = web.AppRunner(
            application, access_log=None, handle_signals=False, keepalive_timeout=self._settings.keepalive
        )
        await self._runner.setup()
        self._remove_socket()
        with reachable(self._directory) as path:
            await self._bind(web.UnixSite(self._runner, path), str(self._directory / SOCKET))
            os.chmod(path, 0o600)  # noqa: PTH101 - nothing waits here, and pathlib is not for coroutines
        if self._settings.bind is not None:
            host, port = split_address(self._settings.bind)
            await self._bind(web.TCPSite(self._runner, host, port), self._settings.bind)

    @property
    def addresses(self) -> tuple[str, ...]:
        """HOST:PORT of the HTTP port, if there is one."""
        if self._runner is None:
            return ()
        names = [name for name in self._runner.addresses if isinstance(name, tuple)]
        return tuple(f"{name[0]}:{name[1]}" for name in names)

    async def stop(self) -> None:
        """Closes both ports and takes the socket's file away."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._remove_socket()

    def _remove_socket(self) -> None:
        """Ours, or what a daemon left that was killed: the directory's lock is held."""
        (self._directory / SOCKET).unlink(missing_ok=True)

    async def _bind(self, site: web.BaseSite, address: str) -> None:
        try:
            await site.start()
        except OSError as error:
            await self.stop()
            raise CannotServe(f"the admin side cannot listen on {address}: {error.strerror or error}") from error

    def _verdict(self, status: Status) -> Verdict:
        return judge(status, self._settings.expiry_warning)

    async def _live(self, _request: web.Request) -> web.Response:
        """The event loop turns: that is all it says, so that a full disk does not get the daemon restarted."""
        return web.json_response({"live": True})

    async def _ready(self, _request: web.Request) -> web.Response:
        verdict = self._verdict(self._status())
        return web.Response(body=msgspec.json.encode(verdict), status=200 if verdict.ready else 503, content_type=_JSON)

    async def _exposition(self, _request: web.Request) -> web.Response:
        status = self._status()
        body = self._metrics.render(status, self._verdict(status))
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _report(self, _request: web.Request) -> web.Response:
        status = self._status()
        return web.Response(body=msgspec.json.encode(Report(self._verdict(status), status)), content_type=_JSON)
