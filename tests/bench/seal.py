"""`./dev bench seal`: µs of CPU that it takes to seal a payload, to look at one that a device sealed, and to open one.

One thread, no disk, no network. Cases take turns, and the best of several turns stands for the code, the others for
what else the machine was doing. A new content key is a case of its own: once an hour, or once in 100,000 payloads.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bridge.config import Sealing
from bridge.security.device_seal import DeviceSealer, SealedByDevice
from bridge.security.envelope import Opener, Sealer, open_record
from bridge.security.recipient import MLKEM768_X25519, X25519, PrivateKey
from tests.bench.support.machine import machine

RESULTS = Path(__file__).parents[2] / "bench-results"
SIZES = {"128 B": 128, "1 KB": 1024, "64 KB": 65536}
DEVICE, TOPIC = "dev-00001", "devices/dev-00001/telemetry/t"
KEYS = {"X25519": X25519, "ML-KEM-768 and X25519": MLKEM768_X25519}

Work = Callable[[], object]


def of_size(size: int) -> dict[str, Work]:
    """What is done to every payload, its content key known."""
    reader, payload = PrivateKey(X25519, os.urandom(32)), os.urandom(size)
    sealer = Sealer({"r": reader.public}, Sealing(), os.urandom)
    device = DeviceSealer(DEVICE, [reader.public], os.urandom)
    guard, opener = SealedByDevice([reader.public], 100), Opener([reader])
    published = device.seal(TOPIC, payload)
    headers, value = sealer.seal(DEVICE, TOPIC, 7, payload, 0.0)
    given = [*headers, ("mqtt-topic", TOPIC.encode()), ("seq", b"7")]
    return {
        "a gateway seals": lambda: sealer.seal(DEVICE, TOPIC, 7, payload, 0.0),
        "a device seals": lambda: device.seal(TOPIC, payload),
        "a gateway looks at it": lambda: guard.seal(DEVICE, TOPIC, 7, published, 0.0),
        "a reader opens": lambda: opener.open(dict(headers), DEVICE, TOPIC, 7, value),
        "a reader opens a Kafka record": lambda: open_record(opener, given, DEVICE.encode(), value),
    }


def of_key(kem: int) -> dict[str, Work]:
    """What a new content key takes, for one recipient."""
    reader = PrivateKey(kem, os.urandom(32))
    recipients = {"r": reader.public}
    headers, value = Sealer(recipients, Sealing(), os.urandom).seal(DEVICE, TOPIC, 7, b"", 0.0)
    return {
        "a new content key": lambda: Sealer(recipients, Sealing(), os.urandom).seal(DEVICE, TOPIC, 7, b"", 0.0),
        "a content key seen first": lambda: Opener([reader]).open(dict(headers), DEVICE, TOPIC, 7, value),
    }


def micros(work: Work, turn_s: float) -> float:
    """CPU of one call, from as many as a turn has room for."""
    begun, calls = time.process_time(), 0
    while True:
        for _ in range(20):
            work()
        calls += 20
        if (took := time.process_time() - begun) >= turn_s:
            return took / calls * 1e6


def measure(turns: int, turn_s: float) -> dict[str, dict[str, float]]:
    """By case and size or key, the best turn."""
    cases = {label: of_size(size) for label, size in SIZES.items()} | {
        label: of_key(kem) for label, kem in KEYS.items()
    }
    best: dict[str, dict[str, float]] = {}
    for _ in range(turns):
        for label, works in cases.items():
            for name, work in works.items():
                of_case = best.setdefault(name, {})
                of_case[label] = min(of_case.get(label, float("inf")), micros(work, turn_s))
    return best


def show(best: dict[str, dict[str, float]], console: Console) -> None:
    for labels in (tuple(SIZES), tuple(KEYS)):
        table = Table("µs of CPU", *labels)
        for name, found in best.items():
            if labels[0] in found:
                table.add_row(name, *(f"{found[label]:.1f}" for label in labels))
        console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--turn", type=float, default=0.2, metavar="S", help="how long one turn of a case lasts")
    parser.add_argument("--json", type=Path, default=RESULTS / "seal.json")
    options = parser.parse_args(arguments)
    best = measure(options.turns, options.turn)
    show(best, Console())
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps({"machine": machine(), "micros": best}, indent=1) + "\n")


if __name__ == "__main__":
    main()
