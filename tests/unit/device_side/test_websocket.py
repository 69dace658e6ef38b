"""Frames taken apart here and by wsproto: the same bytes, however they are cut, and the same answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol

from bridge.config import Limits, Listener
from bridge.device_side.websocket import WebSocketStream, upgrade

HEAD = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(
    kind: int, payload: bytes, key: bytes, *, first: int = 0x80, masked: bool = True, long: bool = False
) -> bytes:
    """RFC 6455 §5.2; `first`: FIN and reserved bits; `long`: a longer form of the length than there has to be."""
    size, mask = len(payload), 0x80 * masked
    if size < 126 and not long:
        head = bytes([first | kind, mask | size])
    elif size < 1 << 16 and not (long and size >= 126):
        head = bytes([first | kind, mask | 126]) + struct.pack(">H", size)
    else:
        head = bytes([first | kind, mask | 127]) + struct.pack(">Q", size)
    return head + (key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload)) if masked else payload)


payloads = st.one_of(st.binary(max_size=20), st.sampled_from([0, 124, 125, 126, 127, 300, 65_535, 65_536]).map(bytes))
keys = st.one_of(st.just(bytes(4)), st.binary(min_size=4, max_size=4))
usual = st.builds(frame, st.just(BINARY), payloads, keys)
others = st.builds(
    frame,
    st.sampled_from([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG, 3, 15]),
    payloads,
    keys,
    first=st.sampled_from([0x80, 0x80, 0x00, 0xC0]),
    masked=st.sampled_from([True, True, True, False]),
    long=st.sampled_from([False, False, True]),
)
streams = st.lists(st.one_of(usual, usual, usual, others), max_size=8).map(b"".join)
cuts = st.lists(st.integers(1, 200), max_size=30)


class Line(socket.socket):
    """A socket that gives what the test cut, and takes everything."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__()
        self.pieces = pieces
        self.sent = b""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def send(self, data: bytes, flags: int = 0, /) -> int:  # type: ignore[override]  # bytes are all that is sent
        self.sent += data
        return len(data)


async def _readable() -> None:
    raise AssertionError("the head is there at once")


def outcome(pieces: list[bytes], *, by_wsproto: bool) -> tuple[bytes, bytes, bool]:
    """What came out, what was answered, whether it is over before the end of what came."""
    with Line([HEAD, *pieces]) as line:
        stream = asyncio.run(upgrade(line, Listener("", path="/mqtt"), Limits(), peer="test", readable=_readable))
        stream._simple = not by_wsproto
        line.sent = b""
        return b"".join(_read(stream, line)), line.sent, bool(line.pieces)


def _read(stream: WebSocketStream, line: Line) -> Iterator[bytes]:
    while line.pieces:
        with contextlib.suppress(BlockingIOError):
            data = stream.recv(1 << 16)
            yield data
            if not data:
                return


def pieces_of(data: bytes, sizes: list[int]) -> list[bytes]:
    found, at = [], 0
    for size in sizes:
        found.append(data[at : at + size])
        at += size
    return [piece for piece in (*found, data[at:]) if piece]


@given(streams, cuts)
def test_the_short_cut_makes_no_difference(data: bytes, sizes: list[int]) -> None:
    pieces = pieces_of(data, sizes)
    assert outcome(pieces, by_wsproto=False) == outcome(pieces, by_wsproto=True)


def test_every_cut_of_usual_frames_gives_their_bytes() -> None:
    parts = [b"one", b"", b"\0" * 126, bytes(range(256)), b"last"]
    data = b"".join(frame(BINARY, part, b"\x01\x80\xff\x00") for part in parts)
    for cut in range(len(data)):
        assert outcome(pieces_of(data, [cut]), by_wsproto=False) == (b"".join(parts), b"", False)


def test_usual_frames_behind_others_come_out_too() -> None:
    key = b"mask"
    data = frame(BINARY, b"a", key) + frame(PING, b"?", key) + frame(BINARY, b"b", key, first=0)
    data += frame(CONTINUATION, b"c", key) + frame(BINARY, b"d", key)
    for cut in range(len(data)):
        assert outcome(pieces_of(data, [cut]), by_wsproto=False) == (b"abcd", b"\x8a\x01?", False)


def test_what_is_said_is_framed_as_wsproto_does() -> None:
    """The standard has one form for each length [RFC 6455 §5.2]."""
    with Line([HEAD]) as line:
        stream = asyncio.run(upgrade(line, Listener("", path="/mqtt"), Limits(), peer="test", readable=_readable))
        for size in (1, 2, 124, 125, 126, 127, 65_535, 65_536):
            line.sent = b""
            assert stream.send(bytes(size)) == size
            assert line.sent == FrameProtocol(client=False, extensions=[]).send_data(bytes(size))
