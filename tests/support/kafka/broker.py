"""Broker: one Kafka node (broker and controller in one process) that can be stopped, killed and frozen."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.kafka.fetch import java, libraries
from tests.support.ports import free_port

_START_LIMIT_S = 60.0
_PR_SET_PDEATHSIG = 1  # prctl(2)
# ApiVersions, version 0: key 18, correlation id 1, no client id (the smallest request that every broker answers).
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)


class BrokerError(Exception):
    """The broker did not start; the text carries the end of its log."""


def new_cluster_id() -> str:
    """What `StorageTool format` takes."""
    return base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=").decode()


class Broker:
    """One node with its data in `directory`; it keeps port and data over stop, kill and start."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        properties: Mapping[str, str] | None = None,
        listeners: Mapping[str, int] | None = None,
        controller_port: int = 0,
        cluster_id: str = "",
        heap_mib: int = 512,
    ) -> None:
        """`listeners`: ports of further listeners by name; what they speak is among the properties."""
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._controller_port = controller_port or free_port()
        self._cluster_id = cluster_id or new_cluster_id()
        self._heap = f"-Xmx{heap_mib}m"
        self._directory = directory
        self._log = directory / "kafka.log"
        self._settings = directory / "server.properties"
        self._properties = dict(properties or {})
        self._listeners = dict(listeners or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the running broker; an error where there is none."""
        if self._process is None:
            raise BrokerError("the broker does not run")
        return self._process.pid

    def start(self) -> None:
        """Format the data directory if it is new, start, and return when the broker answers. Raises BrokerError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        lines = {**_single_node(self.port, self._controller_port, self._directory / "data"), **self._properties}
        for name, port in self._listeners.items():
            lines["listeners"] += f",{name}://localhost:{port}"
        self._settings.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        if not (self._directory / "data" / "meta.properties").exists():
            self._format()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java(self._heap, "-XX:+UseSerialGC"), "kafka.Kafka", str(self._settings)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=_before_exec,
            )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """SIGTERM, and wait for its end: Kafka's own clean shutdown."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: connections stay, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _java(self, *options: str) -> list[str]:
        return [java(), *options, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{libraries()}/*"]

    def _format(self) -> None:
        tool = [
            *self._java(),
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={self._cluster_id}",
            "-c",
            str(self._settings),
        ]
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BrokerError(f"kafka.tools.StorageTool format failed:\n{done.stdout}{done.stderr}")

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_LIMIT_S
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                tail = self._log.read_text(errors="replace")[-4000:]
                self._end(signal.SIGKILL)
                raise BrokerError(f"Kafka on {self.address} did not start:\n{tail}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2) as sock:
            sock.sendall(_API_VERSIONS)
            return len(sock.recv(4)) == 4
        return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=15)
            self._process.kill()
        self._process.wait()
        self._process = None


def _single_node(port: int, controller_port: int, data: Path) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data),
        "num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        # More than one, so that the groups of two lanes fall on different ones, as they do on a real cluster.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        # A transaction that is open for too long is ended then, not up to ten seconds later.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "200",
        "group.initial.rebalance.delay.ms": "0",
    }


def _before_exec() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # A killed test run leaves no broker behind.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
