"""The door bell: the one socket pair between the device side and the bus side.

Notes are cumulative (positions only rise), so a note that found the socket full may be dropped as long as a later one
is sent. Nothing that must not be lost travels here: what is durable is in the logs and cursors.
"""

from __future__ import annotations

import socket

import msgspec


class DoorbellClosed(ConnectionError):
    """The process on the other side has ended."""


class LaneFigures(msgspec.Struct, omit_defaults=True):
    """One lane, as the bus side sees it. Counts are since its process started."""

    forwarded_records: int = 0
    forwarded_bytes: int = 0
    """As they were on disk: payload, headers and all."""
    waiting_records: int = 0
    """Committed here and not forwarded yet."""
    waiting_bytes: int = 0
    """Of those on disk; estimated from the sizes of segments and of the records read last."""


class Figures(msgspec.Struct, omit_defaults=True):
    """What the bus side has done since its process started."""

    lanes: dict[str, LaneFigures] = {}
    wire_bytes: int = 0
    """Of batches as sent, compressed; without what Kafka's protocol, TLS and TCP put around them."""
    transactions_committed: int = 0
    """Writes that went through; without transactions (`at_least_once`, files) they are counted all the same."""
    transactions_aborted: int = 0
    """Given up for whatever reason; what they carried was, or will be, written again."""
    retries: int = 0
    """Tries to reach the sink after the first."""
    dead_letters: dict[str, int] = {}
    """Records by reason, as the header `error` of a dead letter gives it."""
    superseded: int = 0
    """Documents left out because their device had connected to another gateway since; an event has each."""
    gateways: int = 0
    """Those with a record in the state topic, this one among them; 0: nobody has looked (`state.roaming`)."""
    catch_up_s: float | None = None
    """Seconds until the backlog is gone at the present rates; None: there is hardly any, or it does not shrink."""


class Health(msgspec.Struct, omit_defaults=True):
    """How the bus side is doing, in words and figures a person can use."""

    state: str
    """`connected`, `away` (trying again), `refused` (trying again, but somebody has to put something right), `fenced`
    (another gateway has this id; not tried again), `starting`; the supervisor's own is `restarting`."""
    since: float = 0.0
    """When the state was entered, seconds since the epoch."""
    detail: str = ""
    """Why it is not connected, in plain words; empty where it is."""
    forwarded_records: int = 0
    """Since the process started."""
    tried: float = 0.0
    """When the sink was last tried to be reached or written to, seconds since the epoch."""
    tried_what: str = ""
    """What that was, in plain words."""
    last_error: str = ""
    """Why it failed last, in plain words; kept when all is well again."""
    figures: Figures = msgspec.field(default_factory=Figures)

    @property
    def fenced(self) -> bool:
        """Another gateway has this id; forwarding has stopped until a person sees to it."""
        return self.state == "fenced"


class Note(msgspec.Struct, omit_defaults=True):
    """What one side tells the other; a position is the next sequence number, as everywhere."""

    committed: dict[str, int] = {}
    """Device side → bus side: behind the last durable record, by lane."""
    clocks: bytes = b""
    """Device side → bus side: what the lanes know of late clocks (`BootClocks.encode`)."""
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
