"""The daemon under attack: a real process with a TLS and a plain listener, its log, its memory and its files."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.support.certificates import Authority
from tests.bench.support.processes import resident_bytes, running, wait_for_port
from tests.support.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
HANDSHAKE_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 2.0
HANDSHAKES = 64
CONFIGURATION = """\
[gateway]
id = "gw-robustness"
data_dir = "{directory}/data"

[[listeners]]
bind = "127.0.0.1:{tls_port}"
tls = {{ certificate = "{certificate}", private_key = "{key}", client_ca = "{ca}", resumption = true }}

[[listeners]]
bind = "127.0.0.1:{plain_port}"
anonymous = true

[limits]
handshakes = {handshakes}
handshake_timeout = "{handshake_timeout} s"
handshake_stall = "500 ms"
{limits}
connect_timeout = "{connect_timeout} s"

[[routes]]
filter = "devices/{{device}}/telemetry/#"
topic = "telemetry"
seal = "plain"

[jsonl]
directory = "{directory}/out"
"""


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Target:
    """What an attacker and a test know of the daemon."""

    def __init__(
        self, process: subprocess.Popen[bytes], log: Path, authority: Authority, ports: tuple[int, int]
    ) -> None:
        self.authority = authority
        self.tls_port, self.plain_port = ports
        self._process = process
        self._log = log
        self._log_from = 0

    @property
    def alive(self) -> bool:
        """The same process as at the beginning."""
        return self._process.poll() is None

    def open_files(self) -> int:
        """File descriptors of the device side."""
        return sum(1 for _ in Path(f"/proc/{self._process.pid}/fd").iterdir())

    def memory(self) -> int:
        """Resident bytes of the device side."""
        return resident_bytes(self._process.pid)

    def turn_page(self) -> None:
        """What the log says from here on is the next test's: the kernel gives a port to one peer after another."""
        self._log_from = self._log.stat().st_size

    def log_lines(self) -> list[str]:
        """Everything said since `turn_page`."""
        with self._log.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode(errors="replace").splitlines()

    def line_about(self, peer: str, *words: str, timeout_s: float = 5.0) -> str:
        """The log line that names the peer (HOST:PORT) and holds one of the words; AssertionError when none comes."""
        found: list[str] = []

        def said() -> bool:
            found[:] = [line for line in self.log_lines() if peer in line]
            return any(word in line for line in found for word in words)

        assert wait_until(said, timeout_s), f"no line names {peer} and one of {words}; about it: {found or 'nothing'}"
        return next(line for line in found if any(word in line for word in words))


@contextmanager
def target(directory: Path, limits: str = "") -> Iterator[Target]:
    """A running daemon in `directory`, with more lines under [limits]."""
    authority = Authority(directory / "certs")
    certificate, key = authority.server()
    ports = free_port(), free_port()
    configuration = directory / "busbridge.toml"
    configuration.write_text(
        CONFIGURATION.format(
            directory=directory,
            tls_port=ports[0],
            plain_port=ports[1],
            certificate=certificate,
            key=key,
            ca=authority.pem,
            handshakes=HANDSHAKES,
            limits=limits,
            handshake_timeout=HANDSHAKE_TIMEOUT_S,
            connect_timeout=CONNECT_TIMEOUT_S,
        )
    )
    command: list[str | Path] = [sys.executable, "-m", "bridge", "run", "--config", configuration]
    with running(command, directory / "busbridge.log", CHECKOUT) as process:
        wait_for_port(ports[0], process)
        wait_for_port(ports[1], process)
        yield Target(process, directory / "busbridge.log", authority, ports)
