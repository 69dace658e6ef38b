"""A real daemon in a process of its own: started, killed, stopped, and what it left on disk."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import msgspec

from bridge.log.errors import LogDamaged
from bridge.log.reader import LogReader
from bridge.log.record import DOCUMENT, MESSAGE, Record, decode_context
from tests.bench.support.certificates import Authority
from tests.bench.support.processes import resident_bytes
from tests.support.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0
SINK = '[jsonl]\ndirectory = "{directory}/out"\n'
NO_SINK = '[kafka]\nbootstrap_servers = ["127.0.0.1:{dead_port}"]\nrequest_timeout = "500 ms"\n'
"""Nobody listens there: what is taken in stays in the queue."""
ROUTES = """
[[routes]]
filter = "devices/{device}/telemetry/#"
topic = "telemetry"
seal = "plain"
[[routes]]
filter = "devices/{device}/alarm/#"
topic = "alarm"
lane = "alarm"
seal = "plain"
[state]
topic = "device-state"
"""
BASE = """
[gateway]
id = "gw-test"
data_dir = "{directory}/data"
[[listeners]]
bind = "127.0.0.1:{port}"
anonymous = true
[[listeners]]
bind = "127.0.0.1:{tls_port}"
tls = {{ certificate = "{certificate}", private_key = "{key}", client_ca = "{ca}" }}
"""
SMALL_QUEUE = """
[queue]
free_space_floor = "1 MiB"
segment_bytes = "2.5 MiB"
"""


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Returns when it came true; AssertionError when it did not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain: {what}"
        time.sleep(0.01)


class Gateway:
    """Its files, and the process while it runs."""

    def __init__(self, directory: Path, extra: str = "", *, sink: str = SINK, routes: str = ROUTES) -> None:
        """Nothing runs yet. `extra` is more TOML."""
        self.directory = directory
        self.port, self.tls_port, dead_port = free_port(), free_port(), free_port()
        self.authority = Authority(directory / "certs")
        certificate, key = self.authority.server()
        base = BASE + sink if sink else BASE
        queue = "" if "[queue]" in extra else SMALL_QUEUE
        self.config = directory / "busbridge.toml"
        self.config.write_text(
            base.format(
                directory=directory,
                port=self.port,
                tls_port=self.tls_port,
                dead_port=dead_port,
                certificate=certificate,
                key=key,
                ca=self.authority.pem,
            )
            + routes
            + queue
            + extra
        )
        self.command = [sys.executable, "-m", "bridge", "run", "--config", str(self.config)]
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}
        """What it is started with beside the test's own."""
        self._log = directory / "gateway.log"

    def start(self) -> Gateway:
        """Starts it and waits until it says that it is ready."""
        before = self.log().count("is ready on")
        self.launch()
        wait_until(lambda: self.log().count("is ready on") > before or not self.running, f"ready: {self.log()}")
        assert self.running, self.log()
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts it and waits for nothing."""
        with self._log.open("ab") as output:
            environment = {**os.environ, **self.environment}
            self.process = subprocess.Popen(
                self.command, stdout=output, stderr=subprocess.STDOUT, cwd=CHECKOUT, env=environment
            )
        return self.process

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL: as when the power goes, but for what the kernel has in its caches."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def log(self) -> str:
        """All it has said so far, over all starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def memory(self) -> int:
        """Resident bytes of the device side."""
        return resident_bytes(self.pid)

    def records(self, lane: str = "normal") -> list[Record]:
        """All that is in the lane's segments."""
        reader = LogReader(self.directory / "data" / "uplink" / lane)
        found: list[Record] = []
        with contextlib.suppress(LogDamaged):  # said at the end, for nobody told the reader where that is
            while more := reader.read(1 << 62, 1000, 1 << 20):
                found += more
        reader.close()
        return found

    def messages(self, lane: str = "normal") -> list[tuple[str, bytes]]:
        """Device and payload of each message in the lane's segments, in order."""
        return [
            (decode_context(record.context)[0], record.payload)
            for record in self.records(lane)
            if record.kind == MESSAGE
        ]

    def forwarded(self, topic: str = "telemetry") -> list[bytes]:
        """The values that the bus side has written for this Kafka topic, in order."""
        found = []
        for path in sorted((self.directory / "out").rglob("*.jsonl")):
            for line in path.read_bytes().split(b"\n")[:-1]:  # the last may be half a line
                record = msgspec.json.decode(line)
                if record["topic"] == topic:
                    found.append((record.get("value") or "").encode() or b64decode(record.get("value_base64", "")))
        return found

    def documents(self, device: str) -> list[dict[str, dict[str, object]]]:
        """Every state of the device's document in the log, oldest first."""
        return [document for document in self.documents_of_all() if document.get("device") == device]

    def documents_of_all(self) -> list[dict[str, dict[str, object]]]:
        """The same of all devices, and the gateway's own records among them."""
        return [msgspec.json.decode(record.payload) for record in self.records("state") if record.kind == DOCUMENT]

    def presence(self, device: str) -> dict[str, object]:
        """As the newest document in the log has it; empty where there is none."""
        documents = self.documents(device)
        return documents[-1]["presence"] if documents else {}

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)
