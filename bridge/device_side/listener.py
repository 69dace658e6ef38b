"""A listening port: accepts, does the TLS handshake beside the loop, hands over connections whose device is known.

Whoever connects waits in the antechamber until it has said something. A handshake costs over a millisecond of CPU, so
its steps run in a small thread pool; between two steps nobody waits but the peer's own socket, so a peer that is slow
or silent costs no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bridge.address import split_address
from bridge.config import Limits, Listener
from bridge.device_side.admission import Admission, Displaced
from bridge.device_side.antechamber import GONE, PUSHED_OUT, Caller
from bridge.device_side.connection import Stream
from bridge.device_side.doorman import Proof
from bridge.device_side.rates import neighbourhood
from bridge.device_side.websocket import UpgradeRefused, upgrade
from bridge.security import tls
from bridge.security.identity import IdentityError, Naming
from bridge.security.perishable import Perishable
from bridge.security.perishables import perishables
from bridge.security.tls_words import explain
from bridge.security.trust import Peer, Trust

_log = logging.getLogger(__name__)
_ACCEPTS_A_TURN = 16
"""Then whoever is in has its turn: one takes some 50 µs."""


class CannotListen(Exception):
    """A listener's address or certificates cannot be used; says which and why."""


class Admitted:
    """Why somebody was let in at a port that asks, to be looked at again when the files that decide have changed."""

    __slots__ = ("_peer", "_port", "proof")

    def __init__(self, port: ListeningPort, peer: Peer | None) -> None:
        self._port = port
        self._peer = peer
        self.proof: Proof | None = None
        """What showed who it is, where no certificate does."""

    @property
    def device(self) -> str | None:
        """The device id in the certificate, else that of the proof; None: it is not known yet."""
        if self._peer is not None:
            return self._peer.device
        return self.proof.device if self.proof is not None else None

    @property
    def by(self) -> str:
        """What says who it is, for messages."""
        return "certificate" if self._peer is not None else "user name or token"

    @property
    def units(self) -> tuple[str, ...]:
        """The organizational units in its certificate, which may be roles."""
        return self._peer.units if self._peer is not None else ()

    @property
    def authority(self) -> str | None:
        """The CA by which its certificate is let in; None: it showed none."""
        trust = self._port.trust
        return trust.authority(self._peer) if trust is not None and self._peer is not None else None

    @property
    def listener(self) -> Listener:
        """Where it came in."""
        return self._port.settings

    def objection(self, now_s: float) -> str | None:
        """Why it would not be let in now (seconds since the epoch), in plain words; None: it would."""
        if self._peer is None:
            return self.proof.objection(now_s) if self.proof is not None else None
        trust = self._port.trust
        return trust.objection(self._peer, now_s) if trust is not None else None


class ListeningPort:
    """One `[[listeners]]` entry at work."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Listener,
        limits: Limits,
        admission: Admission,
        pool: Executor,
        welcome: Callable[[Stream, str, Admitted | None], None],
    ) -> None:
        """Binds and listens.

        Args:
            loop: the process's event loop.
            settings: address and certificates.
            limits: time-outs.
            admission: shared by all listeners.
            pool: for handshakes.
            welcome: takes (socket or WebSocket, peer's HOST:PORT, what its certificate said or None).

        Raises:
            CannotListen: the address cannot be bound, or a certificate file is not what it should be.
        """
        self._loop = loop
        self._settings = settings
        self._naming = Naming(settings.identity, settings.identity_template)
        self._limits = limits
        self._admission = admission
        self._pool = pool
        self._welcome = welcome
        self._tasks: set[asyncio.Task[None]] = set()
        self._context: ssl.SSLContext | None = None
        self.trust: Trust | None = None
        """What its CA and revocation list say; None without TLS."""
        self.perishables: tuple[Perishable, ...] = ()
        """What of its files ends by itself, and when."""
        self.take(read_certificates(settings))
        self._sock = _bind(settings)
        self.address = f"{self._sock.getsockname()[0]}:{self._sock.getsockname()[1]}"
        self._accepting = False

    def start(self) -> None:
        """Begins to accept, unless it is closed."""
        if not self._accepting and self._sock.fileno() >= 0:
            self._accepting = True
            self._loop.add_reader(self._sock.fileno(), self._accept)

    @property
    def settings(self) -> Listener:
        """Its `[[listeners]]` entry."""
        return self._settings

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that decide who gets in."""
        files = self._settings.tls
        if files is None:
            return ()
        crl = () if files.crl is None else (files.crl,)
        authority = () if files.client_ca is None else (files.client_ca,)
        return (files.certificate, files.private_key, *authority, *crl)

    def read_again(self) -> Certificates:
        """Certificate, key, CA and CRL as they are now, for `take`; may be called on any thread.

        Raises:
            CannotListen: a file is not what it should be.
        """
        return read_certificates(self._settings)

    def take(self, certificates: Certificates) -> None:
        """From now on these decide who gets in."""
        self._context, self.trust, self.perishables = certificates

    def close(self) -> None:
        """Stops accepting; handshakes in progress end."""
        self._pause()
        self._sock.close()
        self._admission.antechamber.leave(lambda caller: caller.go_on == self._go_on)
        for task in self._tasks:
            task.cancel()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.error("cannot accept on %s: %s; trying again in 1 s", self.address, error)
                self._pause()
                self._loop.call_later(1.0, self.start)
                return
            self._take(sock, address[0], f"{address[0]}:{address[1]}")

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._sock.fileno())

    def _take(self, sock: socket.socket, host: str, peer: str) -> None:
        refusal = self._admission.refusal(host)
        if refusal is not None:
            self._admission.turned_away(refusal[0], peer, refusal[1])
            sock.close()
            return
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        by_tls, greets = self._context is not None, self._greets
        caller = Caller(sock, peer, tls=by_tls, needs_place=greets, go_on=self._go_on, refuse=self._refuse)
        self._admission.antechamber.enter(caller)

    def _go_on(self, caller: Caller) -> None:
        """The caller has spoken, and there is a place."""
        if (full := self._admission.full()) is not None:  # (it was not when the caller came)
            self._admission.turned_away(full[0], caller.peer, full[1])
            caller.sock.close()
            return
        if not self._greets:
            self._welcome(caller.sock, caller.peer, None)
            return
        self._admission.handshake_begins(caller.where)
        task = self._loop.create_task(self._shake_hands(self._context, self.trust, caller.sock, caller.peer))
        self._tasks.add(task)
        task.add_done_callback(partial(self._handshake_over, caller.where))

    def _refuse(self, caller: Caller, reason: str) -> None:
        """The caller's time in the antechamber has ended otherwise."""
        caller.sock.close()
        if reason == PUSHED_OUT:
            most = f"{self._limits.half_open} connections wait to be heard (limits.half_open), this one for longest"
            self._admission.turned_away(reason, caller.peer, most)
            return
        step = "the TLS handshake" if self._context is not None else "the first packet, CONNECT,"
        why = f"it hung up before {step} had begun" if reason == GONE else f"{step} did not begin in time"
        self._admission.refused[reason] += 1
        level = (
            logging.INFO if reason == GONE and not self._greets else logging.WARNING
        )  # (a look whether we are there)
        _log.log(level, "refused peer=%s on=%s: %s", caller.peer, self.address, why)

    @property
    def _greets(self) -> bool:
        """Something is said before the first byte of MQTT: TLS, a WebSocket's upgrade, or both."""
        return self._context is not None or self._settings.path is not None

    def _handshake_over(self, where: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._admission.handshake_over(where)

    async def _shake_hands(
        self, context: ssl.SSLContext | None, trust: Trust | None, sock: socket.socket, peer: str
    ) -> None:
        """Ends in `welcome`, or with one log line that says which peer was refused and why."""
        admitted: Admitted | None = None
        host = peer.rpartition(":")[0]
        try:
            if context is not None and trust is not None:
                sock = secure = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                await self._handshake(secure, neighbourhood(host))
                shown = secure.getpeercert(binary_form=True) is not None
                admitted = Admitted(self, trust.meet(secure, self._naming, time.time()) if shown else None)
                if (
                    admitted.device is not None
                    and (refusal := self._admission.rates.device(admitted.device)) is not None
                ):
                    self._admission.turned_away(refusal[0], peer, refusal[1])
                    sock.close()
                    return
            stream = sock if self._settings.path is None else await self._upgrade(sock, peer)
        except (OSError, ValueError) as error:
            _log.warning("refused peer=%s on=%s: %s", peer, self.address, explain(error))
            sock.close()
            if isinstance(error, (ssl.SSLError, ValueError)):  # (a lost connection, or a slow one, is no failure)
                self._admission.rates.failed(host)
        except (IdentityError, UpgradeRefused, Displaced) as error:
            _log.warning("refused peer=%s on=%s: %s", peer, self.address, error)
            sock.close()
            if not isinstance(error, Displaced):
                self._admission.rates.failed(host)
        except asyncio.CancelledError:
            sock.close()
            raise
        else:
            self._welcome(stream, peer, admitted)

    async def _upgrade(self, sock: socket.socket, peer: str) -> Stream:
        deadline, where = self._deadline, neighbourhood(peer.rpartition(":")[0])

        async def readable() -> None:
            await self._ready(sock, where, deadline, write=False)

        return await upgrade(sock, self._settings, self._limits, peer=peer, readable=readable)

    @property
    def _deadline(self) -> float:
        """When a step that begins now must have ended, in loop time."""
        return self._loop.time() + self._limits.handshake_timeout

    async def _handshake(self, sock: ssl.SSLSocket, where: str) -> None:
        deadline = self._deadline
        while True:
            try:
                await self._loop.run_in_executor(self._pool, sock.do_handshake)
                return
            except ssl.SSLWantReadError:
                await self._ready(sock, where, deadline, write=False)
            except ssl.SSLWantWriteError:
                await self._ready(sock, where, deadline, write=True)

    async def _ready(self, sock: socket.socket, where: str, deadline: float, *, write: bool) -> None:
        """Waits until the socket, of a peer at that address, can be read or written.

        Raises:
            TimeoutError: not by `deadline` (loop time, seconds).
            Displaced: others waited for the place.
        """
        ready: asyncio.Future[None] = self._loop.create_future()
        loop = self._loop
        watch, unwatch = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
        watch(sock.fileno(), _settle, ready)
        self._admission.stands_still(ready, where)
        try:
            async with asyncio.timeout_at(deadline):
                await ready
        finally:
            self._admission.moves_on(ready)
            unwatch(sock.fileno())


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _bind(settings: Listener) -> socket.socket:
    host, port = split_address(settings.bind)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
        sock.listen(settings.backlog)
    except OSError as error:
        sock.close()
        raise CannotListen(f"cannot listen on {settings.bind}: {error.strerror}") from error
    return sock


class Certificates(NamedTuple):
    """A listener's files, read; empty without TLS."""

    context: ssl.SSLContext | None = None
    trust: Trust | None = None
    perishables: tuple[Perishable, ...] = ()


def asks(settings: Listener) -> ssl.VerifyMode:
    """Whether a client has to show a certificate, may, or is not asked."""
    if "certificate" not in settings.authentication:
        return ssl.CERT_NONE
    return ssl.CERT_REQUIRED if set(settings.authentication) == {"certificate"} else ssl.CERT_OPTIONAL


def read_certificates(settings: Listener) -> Certificates:
    """Read a listener's certificate, key, CA and CRL.

    Raises:
        CannotListen: a file is not what it should be.
    """
    files = settings.tls
    if files is None:
        return Certificates()
    try:
        alpn = tls.MQTT if settings.path is None else tls.HTTP
        context = tls.server_context(files, asks(settings), alpn)
        return Certificates(context, Trust(files), tuple(perishables(files)))
    except (OSError, ValueError) as error:
        paths = (files.certificate, files.private_key, files.client_ca)
        names = ", ".join(str(path) for path in paths if path is not None)
        raise CannotListen(f"the certificates of {settings.bind} ({names}) cannot be used: {error}") from error
