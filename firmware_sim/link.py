"""Link: one paho client on an asyncio loop. Its socket, its writes, its house-keeping, its reconnects.

paho's own threads are not used: hundreds of devices share one loop. Only connecting happens in a small thread pool,
because paho's connect blocks through the TCP and TLS handshakes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from firmware_sim.client import clear_session, make_client
from firmware_sim.plan import Plan, Version


class Link:
    """Keeps one device connected until it is told to stop; may be started again then.

    `on_up(session_present)` is called when CONNACK came (before paho sends again what was in flight: publish nothing
    from it), `on_turn()` after each reading, when the client is in a state to take more.
    """

    def __init__(
        self,
        plan: Plan,
        device: str,
        version: Version,
        pool: Executor,
        on_up: Callable[[bool], None],
        on_turn: Callable[[], None],
    ) -> None:
        self.client = make_client(plan, device, version)
        self.connected = False
        self.connections = 0
        self.last_error = ""
        """Why the last connection could not be made or ended, in words; for people."""
        self._plan, self._device, self._pool = plan, device, pool
        self._on_up, self._on_turn = on_up, on_turn
        self._to_clear = plan.fresh and version == "3.1.1"
        self._fd: int | None = None
        self._attempts = 0
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._hook()

    def start(self) -> None:
        """Begin to connect; needs a running loop."""
        if self._task is not None:
            raise RuntimeError(f"{self._device} is started already")
        self._stopping.clear()
        self._task = asyncio.get_running_loop().create_task(self._keep_connected())

    async def stop(self) -> None:
        """Say DISCONNECT, if there is a connection, and wait for the end of it."""
        if self._task is None:
            return
        self._stopping.set()
        self._leave()
        await self._task
        self._task = None

    def tick(self) -> None:
        """Do paho's house-keeping (keep-alive); call it about once a second."""
        if self._fd is not None:
            self.client.loop_misc()

    def _hook(self) -> None:
        client = self.client
        client.on_connect = self._connack
        client.on_disconnect = self._disconnected
        client.on_socket_close = self._socket_closes
        client.on_socket_register_write = self._wants_to_write
        client.on_socket_unregister_write = self._written

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            self._ended.clear()
            try:
                await loop.run_in_executor(self._pool, self._connect)
            except (OSError, ValueError) as error:  # ValueError: ssl.CertificateError is one
                self.last_error = str(error)
            else:
                self._attach()
                await self._ended.wait()
            await self._back_off()

    def _connect(self) -> None:
        """In a thread of the pool; the loop side does not touch the client meanwhile."""
        if self._to_clear:
            clear_session(self._plan, self._device)
            self._to_clear = False
        self.client.reconnect()

    async def _back_off(self) -> None:
        ceiling = min(self._plan.backoff_max_s, self._plan.backoff_s * 2**self._attempts)
        self._attempts = min(self._attempts + 1, 16)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), ceiling * random.uniform(0.5, 1.0))

    def _attach(self) -> None:
        sock = self.client.socket()
        assert sock is not None, "reconnect() returned without raising"
        self._fd = sock.fileno()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._fd, self._read)
        loop.add_writer(self._fd, self._write)  # CONNECT waits to be written
        if self._stopping.is_set():
            self._leave()

    def _leave(self) -> None:
        if self._fd is not None:
            self.client.disconnect()

    def _read(self) -> None:
        self.client.loop_read()
        while self._fd is not None and self._decrypted_waits():
            self.client.loop_read()
        if self.connected:
            self._on_turn()

    def _decrypted_waits(self) -> bool:
        """Bytes in OpenSSL's buffer make no socket readable."""
        sock = self.client.socket()
        return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0

    def _write(self) -> None:
        self.client.loop_write()

    def _wants_to_write(self, _client: paho.Client, _userdata: Any, _sock: Any) -> None:
        if self._fd is not None:  # None: still connecting, in another thread
            asyncio.get_running_loop().add_writer(self._fd, self._write)

    def _written(self, _client: paho.Client, _userdata: Any, _sock: Any) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_writer(self._fd)

    def _socket_closes(self, _client: paho.Client, _userdata: Any, _sock: Any) -> None:
        if self._fd is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._fd)
            loop.remove_writer(self._fd)
            self._fd = None
            self.connected = False
            self._ended.set()

    def _connack(
        self, _client: paho.Client, _userdata: Any, flags: paho.ConnectFlags, reason: Any, _props: Any
    ) -> None:
        if reason.is_failure:
            self.last_error = f"refused: {reason}"
            return
        self.connected = True
        self.connections += 1
        self._attempts = 0
        self._on_up(flags.session_present)

    def _disconnected(
        self, _client: paho.Client, _userdata: Any, _flags: paho.DisconnectFlags, reason: ReasonCode, _props: Any
    ) -> None:
        self.connected = False
        if not self._stopping.is_set():
            self.last_error = str(reason)
