"""The antechamber: where a caller waits until it has said enough to be worth a handshake, and until there is a place.

Waiting costs a socket and a few hundred bytes, no task, thread or place. A TLS caller has said enough with a whole
ClientHello record; the kernel counts its bytes (SO_RCVLOWAT), so one that sends a byte now and then wakes nobody.
When too many wait, the one goes that has waited for longest at the address from which most do. Places go to the address
that has the fewest. So a thousand callers from one are in each other's way, and not in others'.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterator

from bridge.config import Limits
from bridge.device_side.rates import neighbourhood

_TICK_S = 0.25
_BEGIN_AT_ONCE = 8
"""Handshakes: what is done for each before a thread has it takes some 100 µs."""
_LOOK_BYTES = 4096
_HANDSHAKE = 22
_HEADER_BYTES = 5
_RECORD_MAX_BYTES = 16_384
"""ContentType, header and length of a TLS record (RFC 8446 §5.1)."""
PUSHED_OUT = "half-open"
LATE = "late"
GONE = "gone"


class Caller:
    """A connection of which nothing is known yet but where it comes from."""

    __slots__ = ("expected", "go_on", "needs_place", "peer", "refuse", "sock", "tls", "until", "where")

    def __init__(
        self,
        sock: socket.socket,
        peer: str,
        *,
        tls: bool,
        needs_place: bool,
        go_on: Callable[[Caller], None],
        refuse: Callable[[Caller, str], None],
    ) -> None:
        """Args:
        sock: non-blocking.
        peer: HOST:PORT.
        tls: it has to send a ClientHello; else its first byte is enough.
        needs_place: a handshake follows; else it goes on as soon as it has spoken.
        go_on: has a place from here on, if it needs one.
        refuse: it has to go: PUSHED_OUT, LATE or GONE.
        """
        self.sock = sock
        self.peer = peer
        self.where = neighbourhood(peer.rpartition(":")[0])
        """Its address, as far as it counts as one."""
        self.tls = tls
        self.needs_place = needs_place
        self.go_on = go_on
        self.refuse = refuse
        self.until = 0.0
        """Loop time, seconds."""
        self.expected = 1
        """Bytes that have to be there before the loop wakes."""

    def has_spoken(self) -> bool:
        """Whether it has said enough, or will not say more; sets what to be woken for where it has not.

        Raises:
            OSError: the connection is broken; BlockingIOError: there is nothing yet.
        """
        heard = self.sock.recv(max(_LOOK_BYTES, self.expected), socket.MSG_PEEK)
        if not heard:
            raise ConnectionResetError
        needed = _needed(heard) if self.tls else 1
        if len(heard) >= needed or self.expected >= needed:  # (woken for these and without them: it has hung up)
            self._wake_at(1)
            return True
        if self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise ConnectionResetError  # (behind what it said; the loop does not wake twice for it)
        self._wake_at(needed)
        return False

    def _wake_at(self, count: int) -> None:
        if count != self.expected:
            self.expected = count
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)


class Antechamber:
    """For all listeners together."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        place: Callable[[], bool],
        taken: Callable[[str], int],
        clear: Callable[[int], None],
    ) -> None:
        """Args:
        loop: the process's event loop.
        limits: how many wait, and for how long.
        place: whether there is one for another handshake.
        taken: how many of them an address has.
        clear: so many wait for places; those that hold one without using it may have to go.
        """
        self._loop = loop
        self._limits = limits
        self._place = place
        self._taken = taken
        self._clear = clear
        self._silent: OrderedDict[int, Caller] = OrderedDict()
        """By file descriptor, the oldest first."""
        self._ready: OrderedDict[str, OrderedDict[int, Caller]] = OrderedDict()
        """Those that wait for a place, by address and file descriptor; the newest last, of both."""
        self.waiting = 0
        """For a place."""
        self._here: dict[str, OrderedDict[int, Caller]] = {}
        """All of them, by address and file descriptor; the oldest first."""
        self._crowded = ""
        """The address with the most of them; another may have as many since it has become fewer."""
        self._filling = False
        self._ticking: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._silent) + self.waiting

    def enter(self, caller: Caller) -> None:
        """It waits from now on; `go_on` or `refuse` will be called, never from in here."""
        if len(self) >= self._limits.half_open:
            self._push_out()
        caller.until = self._loop.time() + self._limits.handshake_timeout
        mine = self._here.setdefault(caller.where, OrderedDict())
        mine[caller.sock.fileno()] = caller
        if len(mine) > len(self._here.get(self._crowded, ())):
            self._crowded = caller.where
        self._silent[caller.sock.fileno()] = caller
        self._loop.add_reader(caller.sock.fileno(), self._spoke, caller)
        if self._ticking is None:
            self._ticking = self._loop.call_later(_TICK_S, self._tick)

    def fill_soon(self) -> None:
        """A place may be free."""
        if self._ready and not self._filling and self._place():
            self._filling = True
            self._loop.call_soon(self._fill_more)

    def _fill_more(self) -> None:
        self._filling = False
        self._fill()
        self.fill_soon()  # (a crowd that hangs up frees all places at once: others have their turn between)

    def _fill(self) -> None:
        """The newest first: under a flood the others have given up before their turn comes."""
        for _ in range(_BEGIN_AT_ONCE):
            if not (self._ready and self._place()):
                return
            caller = next(reversed(self._ready[self._next_address()].values()))
            self._take_out(caller)
            caller.go_on(caller)

    def _next_address(self) -> str:
        """The one that has the fewest places; no more of them are looked at than there are places, and one."""
        fewest, found = -1, ""
        for where in reversed(self._ready):
            taken = self._taken(where)
            if not taken:
                return where
            if fewest < 0 or taken < fewest:
                fewest, found = taken, where
        return found

    def leave(self, wanted: Callable[[Caller], bool]) -> None:
        """Hangs up on those of whom `wanted` is true, without a word."""
        for caller in [each for each in self._all() if wanted(each)]:
            self._take_out(caller)
            caller.sock.close()

    def _spoke(self, caller: Caller) -> None:
        try:
            if not caller.has_spoken():
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._take_out(caller)
            caller.refuse(caller, GONE)
            return
        self._take_out(caller)
        if not caller.needs_place:
            caller.go_on(caller)
            return
        self._ready.setdefault(caller.where, OrderedDict())[caller.sock.fileno()] = caller
        self._ready.move_to_end(caller.where)
        self.waiting += 1
        self._fill()

    def _push_out(self) -> None:
        crowd = self._here.get(self._crowded) or max(self._here.values(), key=len)
        caller = next(iter(crowd.values()))
        self._take_out(caller)
        caller.refuse(caller, PUSHED_OUT)

    def _all(self) -> Iterator[Caller]:
        for callers in self._here.values():
            yield from callers.values()

    def _take_out(self, caller: Caller) -> None:
        descriptor = caller.sock.fileno()
        if self._silent.pop(descriptor, None) is not None:
            self._loop.remove_reader(descriptor)
        if _leave(self._ready, caller):
            self.waiting -= 1
        _leave(self._here, caller)

    def _tick(self) -> None:
        now = self._loop.time()
        for caller in [each for each in self._all() if each.until <= now]:
            self._take_out(caller)
            caller.refuse(caller, LATE)
        if self.waiting:
            self._clear(self.waiting)
        self._ticking = self._loop.call_later(_TICK_S, self._tick) if len(self) else None


def _leave(callers: dict[str, OrderedDict[int, Caller]], caller: Caller) -> bool:
    """Whether it was there."""
    near = callers.get(caller.where)
    if near is None or near.pop(caller.sock.fileno(), None) is None:
        return False
    if not near:
        del callers[caller.where]
    return True


def _needed(heard: bytes) -> int:
    """How many bytes the first TLS record has; what is no handshake at all has said enough."""
    if heard[0] != _HANDSHAKE:
        return 1
    if len(heard) < _HEADER_BYTES:
        return _HEADER_BYTES
    length = int.from_bytes(heard[3:5], "big")
    return _HEADER_BYTES + length if length <= _RECORD_MAX_BYTES else _HEADER_BYTES
