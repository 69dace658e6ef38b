"""Devices as a gateway's daemon on this machine knows them, by the stream of its admin socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

import h11
import msgspec

from bridge.admin.local_socket import reachable
from bridge.belief import Belief
from bridge.bus_side.fleet import FleetError
from bridge.cli.local import answering
from bridge.row import Row

_READ_BYTES = 1 << 16
_LIMIT_S = 10.0


class _Line(msgspec.Struct):
    device: str
    believed: Belief | None = None
    removed: bool = False


_decode = msgspec.json.Decoder(_Line).decode


class LocalDevices:
    """See `device_view.Place`. Belongs to one event loop; call `close` at the end."""

    def __init__(self, directory: Path, patterns: Sequence[str]) -> None:
        """Args:
        directory: the daemon's data directory.
        patterns: of the devices that are looked at; none: all.
        """
        self.name = f"the gateway on {directory}"
        self._directory = directory
        self._query = urlencode([("watch", ""), *(("device", pattern) for pattern in patterns)])
        self._beliefs: dict[str, Belief] = {}
        self._known: dict[str, bytes] = {}
        self.documents: Mapping[str, bytes] = self._known
        self._changed: set[str] = set()
        self._writer: asyncio.StreamWriter | None = None
        self._following: asyncio.Task[None] | None = None

    async def refresh(self) -> set[str]:
        """What has come meanwhile; the first time all that there is. Raises Failure, FleetError."""
        if self._following is None or self._following.done():
            await self.close()
            before, self._changed = dict(self._known), set()
            self._known.clear()
            try:
                with answering(self._directory):
                    async with asyncio.timeout(_LIMIT_S):
                        lines = await self._open()
                        await self._take(lines, until_told=True)
            except BaseException:
                self._known.update(before)
                raise
            self._changed |= before.keys() - self._known.keys()
            self._following = asyncio.create_task(self._take(lines, until_told=False))
        changed, self._changed = self._changed, set()
        return changed

    def belief(self, device: str, _row: Row) -> Belief:
        """As the gateway has said with the document."""
        return self._beliefs.get(device) or Belief("unknown", "", "the gateway has not said")

    async def close(self) -> None:
        """Gives the connection back."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, FleetError, h11.RemoteProtocolError):
                await self._following
        if self._writer is not None:
            self._writer.close()
        self._following = self._writer = None

    async def _open(self) -> AsyncIterator[bytes]:
        with reachable(self._directory) as path:
            reader, self._writer = await asyncio.open_unix_connection(path)
        protocol = h11.Connection(h11.CLIENT)
        request = h11.Request(method="GET", target=f"/devices?{self._query}", headers=[("Host", "daemon")])
        self._writer.write((protocol.send(request) or b"") + (protocol.send(h11.EndOfMessage()) or b""))
        return _lines(reader, protocol)

    async def _take(self, lines: AsyncIterator[bytes], *, until_told: bool) -> None:
        """Up to the empty line that ends what there was at first, or for ever."""
        async for line in lines:
            if not line and until_told:
                return
            if line:
                said = _decode(line)
                self._changed.add(said.device)
                if said.removed or said.believed is None:
                    self._known.pop(said.device, None)
                else:
                    self._known[said.device], self._beliefs[said.device] = line, said.believed


async def _lines(reader: asyncio.StreamReader, protocol: h11.Connection) -> AsyncIterator[bytes]:
    """Raises FleetError: it was refused. OSError: the daemon has hung up."""
    rest, status = b"", 0
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(_READ_BYTES)
            protocol.receive_data(data)
            if not data:
                raise ConnectionResetError
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            *lines, rest = (rest + event.data).split(b"\n")
            if status != 200:
                raise FleetError(_refusal(status, lines or [rest]))
            for line in lines:
                yield line
        else:
            raise ConnectionResetError


def _refusal(status: int, lines: Sequence[bytes]) -> str:
    if status == 404:
        return "the gateway has no device documents: there is no [state] in its configuration"
    try:
        return f"the gateway says: {msgspec.json.decode(lines[0], type=dict[str, str])['error']}"
    except (msgspec.DecodeError, KeyError):
        return f"the gateway answers with status {status}"
