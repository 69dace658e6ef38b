"""MQTT over WebSocket (MQTT5 §6, RFC 6455): the upgrade of a connection, and a socket whose bytes travel in frames.

`WebSocketStream` has the manners of a non-blocking socket, those of OpenSSL in particular (a write that was not taken
is repeated with the same bytes), so a `Connection` does not know of it and one over plain TCP pays nothing for it. No
extension is agreed on: compressed frames would let a few bytes become any number.

What MQTT clients send, whole masked binary frames, is taken apart here, for a seventh of what wsproto takes. From
the first frame on that is anything else, wsproto has all that comes. Short frames to them are put together here too.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import RemoteProtocolError

from bridge.config import Limits, Listener

_log = logging.getLogger(__name__)
SUBPROTOCOL = "mqtt"
_FINAL_BINARY, _MASKED = 0x82, 0x80
_LENGTH_FOLLOWS = 126
"""Where a length would stand: it is in the next two bytes (RFC 6455 §5.2)."""
_END_OF_HEAD = b"\r\n\r\n"
_BROKEN = CloseReason.PROTOCOL_ERROR
_RETRY = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError)


class UpgradeRefused(Exception):
    """What came is no request for MQTT over WebSocket, or not one that is let in; says why."""

    def __init__(self, why: str, status: int = 400, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(why)
        self.status = status
        self.headers = headers


async def upgrade(
    sock: socket.socket, settings: Listener, limits: Limits, *, peer: str, readable: Callable[[], Awaitable[None]]
) -> WebSocketStream:
    """Reads the HTTP request of a new connection and answers it.

    Args:
        sock: non-blocking; TLS is done, where there is TLS.
        settings: the listener's path and origins.
        limits: bytes of the request, and of what waits to be sent.
        peer: HOST:PORT, for the log.
        readable: waits until there may be something to read; TimeoutError when that takes too long.

    Raises:
        UpgradeRefused: the request was answered with an HTTP error; the socket is still to be closed.
        OSError: the peer went away or took too long.
    """
    frames = WSConnection(ConnectionType.SERVER)
    try:
        request = _parse(frames, await _read_head(sock, limits.upgrade_bytes, readable))
        _judge(request, settings)
    except UpgradeRefused as refusal:
        with contextlib.suppress(OSError):
            sock.send(_rejection(frames, refusal))
        raise
    answer = frames.send(AcceptConnection(subprotocol=SUBPROTOCOL))
    if sock.send(answer) < len(answer):  # a new connection has room for it
        raise ConnectionAbortedError("does not take the answer to its upgrade request")
    return WebSocketStream(sock, frames, peer=peer, unsent_max=limits.output_bytes)


class WebSocketStream:
    """The bytes of MQTT in binary frames, wherever the frames begin and end [MQTT-6.0.0-2]."""

    def __init__(self, sock: socket.socket, frames: WSConnection, *, peer: str, unsent_max: int) -> None:
        """Args:
        sock: non-blocking, behind a successful upgrade.
        frames: the same.
        peer: HOST:PORT, for the log.
        unsent_max: bytes of answers to pings that a peer may leave unread before it is given up.
        """
        self._sock = sock
        self._frames = frames
        self._peer = peer
        self._unsent_max = unsent_max
        self._unsent = b""
        """Frames that the socket has not taken, the first perhaps in part."""
        self._owed = 0
        """Bytes of the caller's that are in `_unsent` and that it will say again."""
        self._over = False
        self._simple = True
        """Nothing but whole masked binary frames has come."""
        self._rest = b""
        """While that is so: the beginning of the next one."""

    def fileno(self) -> int:
        """Of the socket; to be watched for both directions."""
        return self._sock.fileno()

    def recv(self, size: int) -> bytes:
        """What arrived inside of binary frames when `size` bytes more were read; b"" at the end.

        Raises:
            BlockingIOError, ssl.SSLWantReadError: nothing yet.
            OSError: the connection is broken.
        """
        if self._over:
            return b""
        data = self._sock.recv(size)
        if not data:
            return b""
        payload = self._unframe(data)
        self._flush()
        if len(self._unsent) > self._unsent_max:
            raise ConnectionAbortedError("sends pings and does not read the answers")
        if payload or self._over:
            return payload
        raise BlockingIOError

    def send(self, data: bytes) -> int:
        """Sends `data` in one frame; returns its length.

        Raises:
            BlockingIOError: not taken yet; to be called again with the same bytes when the socket can be written.
            OSError: the connection is broken, or the peer has closed it.
        """
        if not self._owed:
            if self._over:
                raise ConnectionAbortedError("the WebSocket is closed")
            short = len(data) < _LENGTH_FOLLOWS  # as acknowledgements are
            self._unsent += bytes((_FINAL_BINARY, len(data))) + data if short else self._frames.send(BytesMessage(data))
            self._owed = len(data)
        self._flush()
        if self._unsent:
            raise BlockingIOError
        sent, self._owed = self._owed, 0
        return sent

    def close(self) -> None:
        """Says good-bye as far as the socket takes it, and closes."""
        self._end(CloseReason.NORMAL_CLOSURE)
        with contextlib.suppress(OSError):
            self._flush()
        self._sock.close()

    def _unframe(self, data: bytes) -> bytes:
        payload: list[bytes] = []
        if self._simple:
            payload, data, self._simple = _binary_frames(self._rest + data)
            if self._simple:
                self._rest = data
                return b"".join(payload)
        self._frames.receive_data(data)
        try:
            for event in self._frames.events():
                if isinstance(event, BytesMessage):
                    payload.append(bytes(event.data))
                else:
                    self._control(event)
        except RemoteProtocolError as error:
            _log.warning("closing peer=%s: %s", self._peer, error)
            self._end(error.event_hint.code if isinstance(error.event_hint, CloseConnection) else _BROKEN)
        return b"".join(payload)

    def _control(self, event: Event) -> None:
        if isinstance(event, Ping):
            self._unsent += self._frames.send(Pong(event.payload))
        elif isinstance(event, CloseConnection):
            self._end(event.code)
        elif isinstance(event, TextMessage) and not self._over:
            _log.warning("closing peer=%s: a text frame; MQTT travels in binary ones [MQTT-6.0.0-1]", self._peer)
            self._end(CloseReason.UNSUPPORTED_DATA)

    def _end(self, code: int) -> None:
        """The last frame; nothing more is read, and the loop, if it watches, finds the end of the stream."""
        if self._over:
            return
        self._over = True
        self._unsent += self._frames.send(CloseConnection(_sendable(code)))
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RD)  # not SSLSocket's own, which would end TLS with it

    def _flush(self) -> None:
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except _RETRY:
                return
            self._unsent = self._unsent[sent:]


def _binary_frames(data: bytes) -> tuple[list[bytes], bytes, bool]:
    """The payloads of whole, final, masked binary frames of up to 65,535 bytes, what is left, whether it is such too.

    All that is wrong, or unusual, counts as another: wsproto judges it.
    """
    found: list[bytes] = []
    at, end = 0, len(data)
    while end - at >= 2:
        size, start = data[at + 1] - _MASKED, at + 6
        if data[at] != _FINAL_BINARY or not 0 <= size <= _LENGTH_FOLLOWS:
            return found, data[at:], False
        if size == _LENGTH_FOLLOWS:
            if end - at < 4:
                break
            size, start = data[at + 2] << 8 | data[at + 3], at + 8
            if size < _LENGTH_FOLLOWS:
                return found, data[at:], False
        if end - start < size:
            break
        key = (data[start - 4 : start] * (size // 4 + 1))[:size]
        at = start + size
        found.append((int.from_bytes(data[start:at]) ^ int.from_bytes(key)).to_bytes(size))
    return found, data[at:], True


def _sendable(code: int) -> int:
    """Some codes say that none was received, and are never sent (RFC 6455 §7.4.1)."""
    unsendable = (CloseReason.NO_STATUS_RCVD, CloseReason.ABNORMAL_CLOSURE, CloseReason.TLS_HANDSHAKE_FAILED)
    return CloseReason.NORMAL_CLOSURE if code in unsendable else code


async def _read_head(sock: socket.socket, most: int, readable: Callable[[], Awaitable[None]]) -> bytes:
    """The request up to its empty line. A client sends nothing more before it has the answer (RFC 6455 §4.1)."""
    head = b""
    while _END_OF_HEAD not in head:
        try:  # before waiting: TLS may have it already
            data = sock.recv(most + 1 - len(head))
        except _RETRY:
            await readable()
            continue
        if not data:
            raise ConnectionAbortedError("went away before its upgrade request was whole")
        head += data
        if len(head) > most:
            raise UpgradeRefused(f"more than {most} bytes of request", 431)
    if not head.endswith(_END_OF_HEAD):
        raise UpgradeRefused("it did not wait for the answer to its upgrade request")
    return head


def _parse(frames: WSConnection, head: bytes) -> Request:
    try:
        frames.receive_data(head)
        for event in frames.events():
            if isinstance(event, Request):
                return event
    except RemoteProtocolError as error:
        hint = error.event_hint
        if isinstance(hint, RejectConnection):
            raise UpgradeRefused(str(error), hint.status_code, tuple(hint.headers)) from error
        raise UpgradeRefused(str(error)) from error
    except ValueError as error:  # a header that is not ASCII
        raise UpgradeRefused(f"a header cannot be read: {error}") from error
    raise UpgradeRefused("not a request")


def _judge(request: Request, settings: Listener) -> None:
    if urlsplit(request.target).path != settings.path:
        raise UpgradeRefused(f'there is nothing at "{request.target}"', 404)
    if SUBPROTOCOL not in request.subprotocols:  # [MQTT-6.0.0-3]
        raise UpgradeRefused(f'does not offer the sub-protocol "{SUBPROTOCOL}"')
    headers = {name.lower(): value for name, value in request.extra_headers}
    if b"content-length" in headers or b"transfer-encoding" in headers:
        raise UpgradeRefused("an upgrade request has no body")
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin and not _may_connect(origin, request.host, settings.origins):
        raise UpgradeRefused(f'pages of "{origin}" may not connect', 403)


def _may_connect(origin: str, host: str, allowed: tuple[str, ...]) -> bool:
    """A browser names the page that asks, and adds the user's certificate whichever page that is."""
    if "*" in allowed or origin in allowed:
        return True
    try:
        return urlsplit(origin).hostname == urlsplit(f"//{host}").hostname
    except ValueError:
        return False


def _rejection(frames: WSConnection, refusal: UpgradeRefused) -> bytes:
    body = f"{refusal}\n".encode()
    headers = [
        *refusal.headers,
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", str(len(body)).encode()),
        (b"Connection", b"close"),
    ]
    rejection = frames.send(RejectConnection(status_code=refusal.status, headers=headers, has_body=True))
    return rejection + frames.send(RejectData(body))
