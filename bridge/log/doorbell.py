"""The door bell: the one socket pair between the device side and the bus side.

Notes are cumulative (positions only rise), so a note that found the socket full may be dropped as long as a later one
is sent. Nothing that must not be lost travels here: what is durable is in the logs and cursors.
"""

from __future__ import annotations

import socket

import msgspec


class DoorbellClosed(ConnectionError):
    """The process on the other side has ended."""


class Health(msgspec.Struct, omit_defaults=True):
    """How the bus side is doing, in words and figures a person can use."""

    state: str
    """`connected`, `away` (trying again), `fenced` (another gateway has this id), `starting`."""
    since: float = 0.0
    """When the state was entered, seconds since the epoch."""
    detail: str = ""
    forwarded_records: int = 0
    """Since the process started."""


class Note(msgspec.Struct, omit_defaults=True):
    """What one side tells the other; a position is the next sequence number, as everywhere."""

    committed: dict[str, int] = {}
    """Device side → bus side: behind the last durable record, by lane."""
    forwarded: dict[str, int] = {}
    """Bus side → device side: the durable cursor, by lane."""
    downlink_committed: int | None = None
    """Bus side → device side."""
    downlink_forwarded: int | None = None
    """Device side → bus side: applied and durable in the cold store."""
    health: Health | None = None
    ready: bool = False
    """Bus side → device side: it has started and listens."""


_MAX_NOTE_BYTES = 64 << 10
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Note)


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends, non-blocking; datagram boundaries are kept (unix(7), SOCK_SEQPACKET)."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


class Doorbell:
    """One end. Watch `fileno()` for readability and call `receive`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, note: Note) -> bool:
        """False where the other side is too slow to take it: send the newer state later.

        Raises:
            DoorbellClosed: the other side is gone.
        """
        try:
            self._sock.send(_encoder.encode(note))
        except BlockingIOError:
            return False
        except OSError as error:
            raise DoorbellClosed(str(error)) from error
        return True

    def receive(self) -> list[Note]:
        """All notes that are there, oldest first.

        Raises:
            DoorbellClosed: the other side is gone (notes it sent before were returned by an earlier call).
        """
        notes: list[Note] = []
        while True:
            try:
                data = self._sock.recv(_MAX_NOTE_BYTES)
            except BlockingIOError:
                return notes
            except OSError as error:
                raise DoorbellClosed(str(error)) from error
            if not data:
                if notes:
                    return notes
                raise DoorbellClosed("the other side closed it")
            notes.append(_decoder.decode(data))

    def close(self) -> None:
        self._sock.close()
