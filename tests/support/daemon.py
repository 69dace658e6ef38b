"""A gateway for tests: its files, and a service manager that keeps its daemon running as systemd would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bridge.security import keys
from bridge.security.ca_directory import CaDirectory
from firmware_sim.child import Child, ChildError, children_of
from tests.support.ports import free_port

RECIPIENT = "data-team"
TELEMETRY, STATE, DESIRED = "telemetry", "device-state", "device-desired"
_READY = "is ready on"
_READY_S = 30.0
_RESTART_S = 0.2  # RestartSec of the unit

_CONFIG = """\
[gateway]
id = "gw-test"
data_dir = "data"

[[listeners]]
bind = "127.0.0.1:{port}"
tls = {{ certificate = "certs/server.pem", private_key = "certs/server.key", client_ca = "certs/ca.pem" }}

[queue]
segment_bytes = "2.5 MiB"
free_space_floor = "64 MiB"

[[routes]]
filter = "devices/{{device}}/telemetry/#"
topic = "{telemetry}"
seal = "seal"
recipients = ["{recipient}"]

[recipients.{recipient}]
public_key = "keys/{recipient}.pub"

[state]
topic = "{state}"

{sink}
[supervisor]
restart_delay = "200 ms"
restart_delay_max = "2 s"
"""

_KAFKA = """\
[kafka]
bootstrap_servers = ["{kafka}"]
request_timeout = "5 s"

[downlink]
desired_topic = "{desired}"
"""

_JSONL = """\
[jsonl]
directory = "out"
"""


class Gateway:
    """The files of a gateway with a sealed route, device documents and, if it has a Kafka, a downlink."""

    def __init__(self, directory: Path, devices: Sequence[str], kafka: str | None) -> None:
        """Make them, and a certificate for each device. Without a Kafka, records go to files in `out`."""
        self.port = free_port()
        self.directory = directory
        self.data, self.out = directory / "data", directory / "out"
        self.config = directory / "busbridge.toml"
        self.devices = directory / "devices"
        self.ca = directory / "certs" / "ca.pem"
        CaDirectory.create(directory / "certs", "a test's CA", ["127.0.0.1"]).issue(devices, self.devices)
        _, self.key = keys.new(RECIPIENT, directory / "keys")
        sink = _KAFKA.format(kafka=kafka, desired=DESIRED) if kafka else _JSONL
        names = {"telemetry": TELEMETRY, "state": STATE, "recipient": RECIPIENT}
        self.config.write_text(_CONFIG.format(port=self.port, sink=sink, **names))


class Service:
    """The daemon, started again whenever it ends, until it is stopped. An asynchronous context manager."""

    def __init__(self, gateway: Gateway) -> None:
        self.output = gateway.directory / "gateway.out"
        self.starts = 0
        self._gateway = gateway
        self._daemon: Child | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Service:
        """Start it and wait until it is ready."""
        self._start()
        await asyncio.to_thread(self.daemon.wait_for, _READY, _READY_S)
        self._keeping = asyncio.create_task(self._keep_running())
        return self

    async def __aexit__(self, *_error: object) -> None:
        """SIGTERM, and wait for the end."""
        if self._keeping is not None:
            self._keeping.cancel()
        await asyncio.to_thread(self.daemon.stop)

    @property
    def daemon(self) -> Child:
        """The device side's process."""
        assert self._daemon is not None, "the service was started"
        return self._daemon

    def complaints(self) -> str:
        """What the log says beside information."""
        return self.daemon.complaints()

    async def kill_device_side(self) -> None:
        """SIGKILL; the bus side ends by itself."""
        _kill(await self._device_side())

    async def kill_bus_side(self) -> None:
        """SIGKILL; the device side starts another."""
        _kill(await self._bus_side())

    async def kill_both(self) -> None:
        """SIGKILL, in one go."""
        for pid in (await self._bus_side(), self.daemon.pid):
            _kill(pid)

    def _start(self) -> None:
        self.starts += 1
        self._daemon = Child("bridge", ["run", "--config", str(self._gateway.config)], self.output)

    async def _keep_running(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            if not self.daemon.running:
                await asyncio.sleep(_RESTART_S)
                self._start()

    async def _device_side(self) -> int:
        return await _soon(lambda: self.daemon.pid if self.daemon.running else None, self.complaints)

    async def _bus_side(self) -> int:
        """Right after a kill there is none, which could be killed."""

        def find() -> int | None:
            children = children_of(self.daemon.pid) if self.daemon.running else []
            return children[0] if children else None

        return await _soon(find, self.complaints)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it was quicker
        os.kill(pid, signal.SIGKILL)


async def _soon(find: Callable[[], int | None], complaints: Callable[[], str]) -> int:
    """Wait until `find` finds a process. Raises ChildError when that takes too long."""
    deadline = time.monotonic() + _READY_S
    while True:
        found = find()
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise ChildError(f"a side of the gateway does not come up:\n{complaints()}")
        await asyncio.sleep(0.01)
