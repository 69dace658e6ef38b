"""HTTP/1.1 (RFC 9112) for the admin side: a few pages, small requests, answers whole or as they come; no TLS, no files.

The protocol is h11's. A whole server framework would be 17 MB and a quarter of the device side's start.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote

import h11

JSON = "application/json"
_READ_BYTES = 16 << 10


class Answer(NamedTuple):
    """What a page says."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    stream: AsyncGenerator[bytes, None] | None = None
    """Instead of `body`: what there is to say, as it comes. It is closed in any case."""


class Request(NamedTuple):
    """What was asked."""

    method: str
    path: str
    """Without the query."""
    body: bytes = b""
    query: str = ""
    """As it was written."""
    headers: Mapping[str, str] = MappingProxyType({})
    """By name in lower case; of several with one name the last."""
    local: bool = False
    """Through the local socket, whose file lets in only who may ask."""
    names: tuple[str, ...] = ()
    """What stood in the place of `{}` in the page's path, decoded."""


Page = Callable[[Request], Awaitable[Answer]]
Pages = Mapping[tuple[str, str], Page]
"""By method and path, in which `{}` is any one segment; what is there for GET is there for HEAD, too."""


class HttpServer:
    """The pages, and every connection that reads them."""

    def __init__(self, pages: Pages, *, silence_s: float, request_bytes: int, connections: int) -> None:
        """Args:
        pages: what there is.
        silence_s: how long a whole request, or reading an answer (of a stream, each part of it), may take.
        request_bytes: the largest body that is taken.
        connections: how many are talked with at once, those of the local socket apart; one more is hung up on.
        """
        self._pages = pages
        self._silence_s = silence_s
        self._request_bytes = request_bytes
        self._connections = connections
        self._talks: set[asyncio.Task[None]] = set()
        self._remote = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first request to its end: what `asyncio.start_server` calls."""
        await self._converse(reader, writer, local=False)

    async def talk_locally(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The same for the local socket."""
        await self._converse(reader, writer, local=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, local: bool) -> None:
        if not local and self._remote >= self._connections:
            writer.transport.abort()
            return
        self._remote += not local
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)
        talk = _Talk(reader, writer, self._silence_s, self._request_bytes, local=local)
        try:
            await talk.run(self._answer)
            writer.close()
        except (OSError, TimeoutError, asyncio.CancelledError):  # it hung up, or we do
            writer.transport.abort()  # a mere close would wait for who does not read
        finally:
            self._remote -= not local

    async def stop(self) -> None:
        """Ends every connection, in the middle of whatever it does."""
        for task in self._talks:
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _answer(self, request: Request) -> Answer:
        method = "GET" if request.method == "HEAD" else request.method
        known: list[str] = []
        for (each, path), page in self._pages.items():
            names = _names(path, request.path)
            if names is not None and each == method:
                return await page(request._replace(names=names))
            known += [each] if names is not None else []
        if not known:
            return _refusal(404)
        allowed = ", ".join([*known, "HEAD"] if "GET" in known else known)
        return _refusal(405)._replace(headers=(("Allow", allowed),))


class _Talk:
    """One connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        silence_s: float,
        request_bytes: int,
        *,
        local: bool,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._silence_s = silence_s
        self._request_bytes = request_bytes
        self._local = local
        self._protocol = h11.Connection(h11.SERVER)
        self._bare = False
        """HEAD was asked: the answer has no body."""

    async def run(self, answer: Callable[[Request], Awaitable[Answer]]) -> None:
        """Returns when the connection is to be closed."""
        while await self._exchange(answer):
            self._protocol.start_next_cycle()

    async def _exchange(self, answer: Callable[[Request], Awaitable[Answer]]) -> bool:
        """One request and its answer; whether another one may follow."""
        self._bare = False
        try:
            async with asyncio.timeout(self._silence_s):
                request = await self._request()
        except h11.RemoteProtocolError as error:
            request = _refusal(error.error_status_hint)
        if request is None:
            return False
        said = request if isinstance(request, Answer) else await answer(request)
        if said.stream is not None:
            async with contextlib.aclosing(said.stream):
                await self._send_stream(said, said.stream)
        elif self._protocol.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            async with asyncio.timeout(self._silence_s):
                await self._send(said)
        return self._protocol.our_state is self._protocol.their_state is h11.DONE

    async def _request(self) -> Request | Answer | None:
        """The next one; an answer where it is refused before its end, None where there is none."""
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        self._bare = head.method == b"HEAD"
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > self._request_bytes:
                return _refusal(413)
        path, _, query = head.target.decode().partition("?")
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        return Request(head.method.decode(), path, bytes(body), query, headers, self._local)

    async def _event(self) -> object:
        """What h11 makes of what comes next: one of its events, or a sign that there is none."""
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            if self._protocol.they_are_waiting_for_100_continue:
                await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self._protocol.receive_data(await self._reader.read(_READ_BYTES))
        return event

    async def _send(self, answer: Answer) -> None:
        body = [] if self._bare else [h11.Data(data=answer.body)]
        length = ("Content-Length", str(len(answer.body)))
        await self._write(_head(answer, length), *body, h11.EndOfMessage())

    async def _send_stream(self, answer: Answer, stream: AsyncGenerator[bytes, None]) -> None:
        """Each part has its own time to be read in: who does not is hung up on, and who hangs up is noticed at once."""
        async with asyncio.timeout(self._silence_s):
            await self._write(_head(answer, ("Connection", "close")))
        gone = asyncio.ensure_future(self._reader.read(1))
        try:
            while not self._bare and (part := await _unless(gone, anext(stream, None))) is not None:
                async with asyncio.timeout(self._silence_s):
                    await self._write(h11.Data(data=part))
        finally:
            gone.cancel()
            await asyncio.wait((gone,))
        async with asyncio.timeout(self._silence_s):
            await self._write(h11.EndOfMessage())

    async def _write(self, *events: h11.Event) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError  # which uvloop calls a RuntimeError
        self._writer.write(b"".join(self._protocol.send(event) or b"" for event in events))
        await self._writer.drain()


async def _unless(gone: asyncio.Future[bytes], part: Awaitable[bytes | None]) -> bytes | None:
    """The part; ConnectionResetError if the reader goes before it is there."""
    task = asyncio.ensure_future(part)
    await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait((task,))
    raise ConnectionResetError


def _head(answer: Answer, *more: tuple[str, str]) -> h11.Response:
    """Without a length, h11 sends chunks, or to HTTP/1.0 all until the connection's end."""
    headers = [
        ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
        ("Content-Type", answer.content_type),
        *more,
        *answer.headers,
    ]
    return h11.Response(status_code=answer.status, headers=headers)


def _names(pattern: str, path: str) -> tuple[str, ...] | None:
    """What stands in the place of `{}`; None: the path does not fit. Decoded only then, so a %2F is no separator."""
    if "{}" not in pattern:
        return () if pattern == path else None
    wanted, found = pattern.split("/"), path.split("/")
    pairs = list(zip(wanted, found, strict=False))
    if len(wanted) != len(found) or any(each not in ("{}", part) for each, part in pairs):
        return None
    return tuple(unquote(part) for each, part in pairs if each == "{}")


def _refusal(status: int) -> Answer:
    return Answer(f"{status} {HTTPStatus(status).phrase}\n".encode(), status, "text/plain; charset=utf-8")
