"""HTTP/1.1 (RFC 9112) for the admin side: a few pages, small requests; no TLS, no log-in, no files.

The protocol is h11's. A whole server framework would be 17 MB and a quarter of the device side's start.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

import h11

JSON = "application/json"
_READ_BYTES = 16 << 10


class Answer(NamedTuple):
    """What a page says."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Request(NamedTuple):
    """What was asked."""

    method: str
    path: str
    """Without the query."""
    body: bytes = b""


Page = Callable[[Request], Awaitable[Answer]]
Pages = Mapping[tuple[str, str], Page]
"""By method and path; what is there for GET is there for HEAD, too."""


class HttpServer:
    """The pages, and every connection that reads them."""

    def __init__(self, pages: Pages, *, silence_s: float, request_bytes: int) -> None:
        """Args:
        pages: what there is.
        silence_s: how long a whole request, or reading an answer, may take.
        request_bytes: the largest body that is taken.
        """
        self._pages = pages
        self._silence_s = silence_s
        self._request_bytes = request_bytes
        self._talks: set[asyncio.Task[None]] = set()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first request to its end: what `asyncio.start_server` calls."""
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):  # it hung up, or we do
                await _Talk(reader, writer, self._silence_s, self._request_bytes).run(self._answer)
        finally:
            writer.close()

    async def stop(self) -> None:
        """Ends every connection, in the middle of whatever it does."""
        for task in self._talks:
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _answer(self, request: Request) -> Answer:
        method = "GET" if request.method == "HEAD" else request.method
        page = self._pages.get((method, request.path))
        if page is not None:
            return await page(request)
        known = [each for each, path in self._pages if path == request.path]
        if not known:
            return _refusal(404)
        allowed = ", ".join([*known, "HEAD"] if "GET" in known else known)
        return _refusal(405)._replace(headers=(("Allow", allowed),))


class _Talk:
    """One connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silence_s: float, request_bytes: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._silence_s = silence_s
        self._request_bytes = request_bytes
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
        if self._protocol.our_state in (h11.IDLE, h11.SEND_RESPONSE):
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
        return Request(head.method.decode(), head.target.partition(b"?")[0].decode(), bytes(body))

    async def _event(self) -> object:
        """What h11 makes of what comes next: one of its events, or a sign that there is none."""
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            if self._protocol.they_are_waiting_for_100_continue:
                await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self._protocol.receive_data(await self._reader.read(_READ_BYTES))
        return event

    async def _send(self, answer: Answer) -> None:
        headers = [
            ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            *answer.headers,
        ]
        body = [] if self._bare else [h11.Data(data=answer.body)]
        await self._write(h11.Response(status_code=answer.status, headers=headers), *body, h11.EndOfMessage())

    async def _write(self, *events: h11.Event) -> None:
        self._writer.write(b"".join(self._protocol.send(event) or b"" for event in events))
        await self._writer.drain()


def _refusal(status: int) -> Answer:
    return Answer(f"{status} {HTTPStatus(status).phrase}\n".encode(), status, "text/plain; charset=utf-8")
