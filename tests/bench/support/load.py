"""The load: compiles `loadgen.c` and runs it, with a call when the measurement begins and one when it ends."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

SOURCES = Path(__file__).resolve().parent
LOADGEN = SOURCES.parent / "loadgen.c"


class Load(msgspec.Struct, frozen=True):
    """What is sent."""

    connections: int
    window: int
    payload_bytes: int
    seconds: float
    warm_up_s: float
    rate: float = 0.0
    """Messages a second in all; 0: as fast as acknowledgements allow."""


class Measured(msgspec.Struct, frozen=True):
    """What the generator saw between the two calls."""

    messages: int
    elapsed_s: float
    messages_per_s: float
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float
    cpu_s: float


def build(directory: Path, main: Path = LOADGEN) -> Path:
    """Compiles a generator (needs cc and libssl-dev) and returns its path; RuntimeError with the compiler's words."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / main.stem
    sources = [main, *sorted(SOURCES.glob("*.c"))]
    command = ["cc", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-o", program, *sources, "-lssl", "-lcrypto"]
    compiled = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if compiled.returncode != 0:
        raise RuntimeError(f"the load generator does not compile:\n{compiled.stderr}")
    return program


def command(
    program: Path, load: Load, port: int, ca: Path | None, devices: Path | None, *, websocket: bool = False
) -> list[str]:
    """The generator's command line; with `ca` and `devices` (a directory of ID.pem) it uses mutual TLS."""
    arguments = [program, "--port", port, "--connections", load.connections, "--window", load.window]
    arguments += ["--payload", load.payload_bytes, "--seconds", load.seconds, "--warm-up", load.warm_up_s]
    arguments += ["--rate", load.rate]
    if ca is not None and devices is not None:
        arguments += ["--ca", ca, "--certs", devices]
    if websocket:
        arguments += ["--websocket"]
    return [str(argument) for argument in arguments]


def run(arguments: list[str], begin: Callable[[], None], end: Callable[[], None]) -> tuple[Measured, int]:
    """Runs it to the end. Returns what it measured and how many messages were acknowledged in all, warm-up included.

    Raises RuntimeError with its last words where it failed.
    """
    events: dict[str, dict[str, object]] = {}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            event = json.loads(line)
            events[event["event"]] = event
            if event["event"] == "measuring":
                begin()
            elif event["event"] == "measured":
                end()
        words = process.stderr.read()
    if process.returncode != 0 or "finished" not in events:
        raise RuntimeError(f"the load generator ended with {process.returncode}: {words.strip()}")
    return msgspec.convert(events["measured"], Measured), msgspec.convert(events["finished"]["messages_total"], int)
