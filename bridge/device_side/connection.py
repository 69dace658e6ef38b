"""One device's connection: a small driver between a socket and a `Session`.

It moves bytes and knows when it may read; what the bytes mean is the session's affair, what happens with a message the
pipeline's, who may be a client the broker's.

A TLS socket is a non-blocking `ssl.SSLSocket` read with `recv` when the loop says it is readable: measured at less than
half the CPU of the loop's own TLS, which goes through memory BIOs (docs/decisions.md). A read takes a whole TLS record
(`limits.read_bytes` is never less), so nothing is left in the TLS layer of which the loop does not know.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from bridge.config import Limits
from bridge.message import Message
from bridge.mqtt.events import Disconnected, Event, Released, Repeated
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session import Session
from bridge.mqtt.session_state import Stage

if TYPE_CHECKING:
    from bridge.device_side.broker import Client
    from bridge.device_side.meter import Meter
    from bridge.device_side.obstacle import Obstacle
    from bridge.device_side.way import Way

_log = logging.getLogger(__name__)
_RETRY = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError)
LOST = "connection-lost"
LEFT = "disconnected"
REFUSED = "refused"


class Stream(Protocol):
    """What a connection needs of a non-blocking socket: TCP, TLS, or a WebSocket over either."""

    def fileno(self) -> int:
        """To be watched by the loop."""

    def recv(self, size: int, /) -> bytes:
        """Up to `size` bytes; b"" at the end. Raises OSError, BlockingIOError where there is nothing yet."""

    def send(self, data: bytes, /) -> int:
        """How many bytes were taken. Raises OSError, BlockingIOError where none: then it is repeated as it was."""

    def close(self) -> None:
        """At once."""


class Owner(Protocol):
    """What a connection needs of the daemon around it."""

    loop: asyncio.AbstractEventLoop

    def publish(self, connection: Connection, events: Sequence[Event], at: int) -> int:
        """Takes in the message `events[at]` and as many behind it as go the same way; returns behind which.

        `at`: not now, the connection holds it and stops reading until `resume`.
        """

    def handle(self, connection: Connection, event: Event) -> bool:
        """Any other event of the session; False: not now, as in `publish`."""

    def flush_soon(self, connection: Connection) -> None:
        """Calls the connection's `flush` before the loop sleeps."""

    def hold(self, connection: Connection) -> None:
        """Calls the connection's `resume` when there is room again."""

    def closed(self, connection: Connection, reason: str, *, will: bool) -> None:
        """The connection has ended; said exactly once."""


class Connection:
    """A socket, its session, and whether it is being read."""

    # (CPython keeps what a larger object without slots has in a dictionary of its own, and looks for it there.)
    __slots__ = (
        "_backlog", "_deaf", "_farewell", "_fd", "_held", "_limits", "_loop", "_owner", "_pause", "_reading",
        "_sock", "_unsent", "_will_due", "bytes_received", "bytes_sent", "client", "closed", "device", "events",
        "flush_asked", "identity", "last_received", "looked", "meter", "opened", "peer", "session", "waits_for", "ways",
    )  # fmt: skip

    def __init__(
        self, owner: Owner, sock: Stream, session: Session, limits: Limits, *, peer: str, identity: str | None
    ) -> None:
        """Args:
        owner: the daemon's parts that act on events.
        sock: non-blocking; TLS is done, where there is TLS.
        session: a fresh one.
        limits: what is read and kept for one connection.
        peer: HOST:PORT, for the log.
        identity: the device id from the certificate; None on an anonymous listener.
        """
        self.session = session
        self.peer = peer
        self.identity = identity
        self.device = identity or ""
        """The device id: the identity, or on an anonymous listener the client id once it is known."""
        self.client: Client | None = None
        self.ways: dict[str, Way] = {}
        """Where each topic this device used goes (the pipeline's, bounded by it)."""
        self.waits_for: Obstacle | None = None
        """What had no room for what is held, if it was that."""
        self.meter: Meter | None = None
        """What its device may send, where that is bounded."""
        self.flush_asked = False
        self.opened = self.last_received = owner.loop.time()
        self.looked = 0.0
        """`last_received` as it was when `look` was called last."""
        self.bytes_received = self.bytes_sent = self.events = 0
        """Over its life; events as the session reports them, messages among them."""
        self.closed = False
        self._owner = owner
        self._loop = owner.loop
        self._sock = sock
        self._fd = sock.fileno()
        self._limits = limits
        self._unsent = b""
        """What the socket would not take."""
        self._backlog = bytearray()
        """What came behind it."""
        self._deaf = False
        self._held: Sequence[Event] = ()
        self._pause: asyncio.TimerHandle | None = None
        """It sent more than it may, and is not read until then."""
        self._reading = False
        self._farewell = LOST
        self._will_due = True

    def start(self) -> None:
        """Begins to read."""
        self._resume_reading()

    @property
    def host(self) -> str:
        """The peer's address without its port."""
        return self.peer.rpartition(":")[0]

    @property
    def held(self) -> bool:
        """Messages wait here because the pipeline could not take them."""
        return bool(self._held)

    @property
    def paused(self) -> bool:
        """It sent more than it may, and is not read for a moment."""
        return self._pause is not None

    @property
    def refusable(self) -> bool:
        """What is held is a message whose publisher can be told that there is no room."""
        first = self._held[0] if self._held else None
        return type(first) is Message and first.qos > 0 and self.session.version >= 5

    @property
    def output_bytes(self) -> int:
        """Waiting to be sent."""
        return len(self._unsent) + len(self._backlog) + self.session.output_bytes

    @property
    def held_bytes(self) -> int:
        """What it keeps in memory of what came (`Session.input_bytes`), waits here, and waits to be sent."""
        waiting = sum(len(each.payload) for each in self._held if type(each) is Message) if self._held else 0
        return waiting + self.session.input_bytes + self.output_bytes

    def acknowledge(self, message: Message, reason: Reason = Reason.SUCCESS) -> None:
        """The message is on disk, or with another reason was refused."""
        if message.qos:
            self.session.acknowledge(message, reason)
            self.flush_soon()

    def durable(self, messages: Sequence[Message]) -> None:
        """Messages of QoS 1 and 2 are on disk."""
        self.session.durable(messages)
        self.flush_soon()

    def decline(self, message: Message, reason: Reason) -> None:
        """The message is not taken in.

        MQTT 3.1.1 cannot say no: an acknowledgement would be a lie, so the connection ends [MQTT-3.3.5-2].
        """
        if self.session.version >= 5:
            self.acknowledge(message, reason)
        else:
            self._take_back((message,))
            self.dismiss(reason)

    def complete(self, packet_id: int) -> None:
        """The end of a QoS 2 hand-shake is on disk."""
        self.session.complete(packet_id)
        self.flush_soon()

    def flush_soon(self) -> None:
        """Has `flush` called before the loop sleeps, once however often it is asked for."""
        if not self.flush_asked:
            self.flush_asked = True
            self._owner.flush_soon(self)

    def dismiss(self, reason: Reason, text: str = "", *, why: str = REFUSED, will: bool = True) -> None:
        """Ends the connection with a DISCONNECT where the version has one."""
        self.session.disconnect(reason, text)
        self.farewell(why, will=will)

    def flush(self) -> None:
        """Sends what the session has to say; what the socket does not take waits for it."""
        self.flush_asked = False
        if self.closed:
            self._flush_successor()
            return
        data = self.session.take_output()
        if self._unsent:
            self._backlog += data
            self._bound_output()
            return
        if data:
            self._send(data)
        if not self._unsent and self.session.stalled():
            self.session.drained(self._loop.time())
            self.flush_soon()
        if self.session.closed and not self._unsent:
            self.close(self._farewell, will=self._will_due)

    def resume(self) -> None:
        """Goes on with what was held."""
        held, self._held, self.waits_for = self._held, (), None
        if self.meter is None:
            self._process(held)
        else:
            self._meter_in(self.meter, held, 0)
        if not self._held and not self.paused and not self.closed:
            self._resume_reading()
            self._receive(b"")

    def close(self, reason: str, *, will: bool) -> None:
        """Ends the connection now; harmless when it has ended."""
        if self.closed:
            return
        self.closed = True
        self._end_pause()
        self._take_back(self._held)
        self._held = ()
        self.session.close()
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._sock.close()
        self._owner.closed(self, reason, will=will)

    def end(self) -> None:
        """Ends the connection of a peer that is gone, or has had its time to read a good-bye said before."""
        if self.session.closed:
            self.close(self._farewell, will=self._will_due)
        else:
            self.close(LOST, will=True)

    def look(self) -> None:
        """Reads what the loop may not tell of; asked for once whenever the peer has become silent.

        uvloop calls back once for a socket that the peer has reset and then watches it no more, though what was sent
        before may take several reads, and the end comes behind it.
        """
        self.looked = self.last_received
        if not self._reading or self.closed:
            return
        before = self.bytes_received
        self._on_readable()
        if self.bytes_received != before:
            self._loop.call_soon(self.look)

    def _on_readable(self) -> None:
        if not self._reading or self.closed:
            return
        try:
            data = self._sock.recv(self._limits.read_bytes)
        except _RETRY:
            return
        except OSError:
            data = b""
        if not data:
            self.end()
            return
        self._receive(data)

    def _receive(self, data: bytes) -> None:
        self.last_received = now = self._loop.time()
        try:
            events = self.session.receive(data, now)
        except Exception:
            self._fault()
            return
        self.bytes_received += len(data)
        self.events += len(events)
        if self.meter is None:
            self._process(events)
        else:
            self._meter_in(self.meter, events, len(data))
        if self.session.has_output() or self.session.closed:
            self.flush_soon()

    def _meter_in(self, meter: Meter, events: Sequence[Event], size: int) -> None:
        """Events that came in `size` bytes, or waited here: as many as the device may send now; the others wait."""
        allowed = meter.take(self.last_received, size, len(events))
        self._process(events[:allowed])
        if self.closed or self.session.closed:
            return
        rest = events[allowed:]
        if self._held:  # by the pipeline, which goes on with them
            meter.give_back(len(self._held))
            self._held = [*self._held, *rest]
        elif (pause := meter.pause(self.last_received, len(rest))) > 0:
            self._held = rest
            self._stop_reading()
            self._pause = self._loop.call_later(pause, self._pause_over)
            meter.held(self.device, self.peer)

    def _pause_over(self) -> None:
        self._end_pause()
        self.last_received = self._loop.time()  # it could not be heard before
        self.resume()

    def _end_pause(self) -> None:
        if self._pause is not None and self.meter is not None:
            self._pause.cancel()
            self._pause = None
            self.meter.freed()

    def _process(self, events: Sequence[Event]) -> None:
        at, end, publish = 0, len(events), self._owner.publish
        try:
            while at < end:
                event = events[at]
                if type(event) is Message:
                    behind = publish(self, events, at)
                elif type(event) is Disconnected:
                    self._disconnected(event)
                    return
                else:
                    behind = at + self._owner.handle(self, event)
                if behind == at:
                    self._hold(events[at:])
                    return
                at = behind
        except Exception:
            self._held = events[at:]
            self._fault()

    def _fault(self) -> None:
        """A mistake of ours: what was lost with it is said again on the device's next connection, not waited for."""
        _log.exception("closing device=%s peer=%s: a mistake in the gateway", self.device, self.peer)
        self.close(LOST, will=True)

    def _take_back(self, events: Sequence[Event]) -> None:
        """These were never taken in: when the client says them again on its next connection, they count."""
        state = self.session.state
        if state is None:
            return
        for event in events:
            if type(event) is Message and event.qos == 2:
                state.incoming.pop(event.packet_id, None)
            elif type(event) is Repeated and event.message.packet_id in state.incoming:
                state.incoming[event.message.packet_id].stage = Stage.UNTOLD
            elif type(event) is Released and event.packet_id in state.incoming:
                state.incoming[event.packet_id].stage = Stage.DURABLE

    def _flush_successor(self) -> None:
        """An exchange that this connection began may be waited for on the client's next one."""
        successor = self.client.connection if self.client is not None else None
        if successor is not None:
            successor.flush_soon()

    def _disconnected(self, event: Disconnected) -> None:
        """The client said good-bye or broke the protocol: the last bytes go out, then the connection ends."""
        self._owner.handle(self, event)
        self.farewell(LOST if event.will else LEFT, will=event.will)

    def farewell(self, reason: str, *, will: bool = False) -> None:
        """Ends the connection once the session, which is closed, has said its last word."""
        self._farewell, self._will_due = reason, will
        self._end_pause()
        self._stop_reading()
        self.flush()

    def _hold(self, events: Sequence[Event]) -> None:
        self._held = events
        self._stop_reading()
        self._owner.hold(self)

    def _stop_reading(self) -> None:
        self._reading = False
        self._loop.remove_reader(self._fd)

    def _resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._fd, self._on_readable)

    def _send(self, data: bytes) -> None:
        """What is left over is kept as it is and sent first: TLS wants a write repeated with the same bytes."""
        try:
            sent = self._sock.send(data)
        except _RETRY:
            sent = 0
        except OSError:
            self.end()
            return
        self.bytes_sent += sent
        if sent < len(data):
            if not self._unsent:
                self._loop.add_writer(self._fd, self._on_writable)
            self._unsent = data[sent:]

    def _on_writable(self) -> None:
        data, self._unsent = self._unsent, b""
        self._loop.remove_writer(self._fd)
        self._send(data)
        if self._backlog and not self._unsent and not self.closed:
            backlog, self._backlog = bytes(self._backlog), bytearray()
            self._send(backlog)
        if not self._unsent and not self.closed:
            self.flush()
        if self._deaf:
            self._listen_again()

    def _bound_output(self) -> None:
        """A peer that does not read what it is sent is not read from either.

        Messages to it are bounded elsewhere; with as much again in answers, it asks and does not listen.
        """
        if self._reading and self.output_bytes > 2 * self._limits.output_bytes:
            self._deaf = True
            self._stop_reading()

    def _listen_again(self) -> None:
        if self.output_bytes > self._limits.output_bytes or self.session.closed:
            return
        self._deaf = False
        if not self._held and not self.paused:
            self._resume_reading()
