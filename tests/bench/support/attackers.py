"""Attackers for `./dev bench attack` and the robustness tests: each kind a function that goes on until told to stop.

As a program (`python -m tests.bench.support.attackers KIND PORT CA CERTIFICATES`) one runs until SIGTERM and then says
in a line of JSON what it did. It runs at a lower priority: it stands in for other machines, and takes no core from the
gateway that those would not take.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import ssl
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from tests.robustness import packets
from tests.robustness.attacker import client_hello, context

HALF_OPEN = 5000
STORM = 2000
SLOW_READERS = 50
FASTER = 100
USUAL_RATE = 10.0
"""Messages a second of a well-behaved device."""
THREADS = 32
PATIENCE_S = 5.0
MEGABYTE = 1_000_000


class Attack(msgspec.Struct):
    """Where, with what, until when; and what came of it."""

    port: int
    ca: Path
    certificates: Sequence[Path]
    """Of devices that are let in, one file each."""
    stop: threading.Event
    did: Counter[str] = msgspec.field(default_factory=Counter)

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def enter(self, certificate: Path) -> ssl.SSLSocket:
        """A device of this certificate, connected by MQTT; OSError where it is not let in."""
        secure = context(self.ca, certificate).wrap_socket(self.dial(), server_hostname="localhost")
        secure.sendall(packets.connect(certificate.stem))
        if secure.recv(4) != b"\x20\x02\x00\x00":
            secure.close()
            raise ConnectionRefusedError
        return secure


def half_open(attack: Attack) -> None:
    """HALF_OPEN connections that send a TLS hello and nothing more, always renewed."""
    hello = client_hello(context(attack.ca, None))
    crowd: deque[socket.socket] = deque()
    while not attack.stop.is_set():
        with contextlib.suppress(OSError):
            crowd.append(attack.dial())
            crowd[-1].sendall(hello)
            attack.did["opened"] += 1
        attack.did["at once"] = max(attack.did["at once"], len(crowd))
        if len(crowd) >= HALF_OPEN:
            crowd.popleft().close()
    for sock in crowd:
        sock.close()


def storm(attack: Attack) -> None:
    """All devices connect at once; when all have had their turn they hang up and come back."""

    def come(certificate: Path) -> ssl.SSLSocket | None:
        if not attack.stop.is_set():
            try:
                connection = attack.enter(certificate)
                attack.did["let in"] += 1
                return connection
            except OSError:
                attack.did["turned away"] += 1
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        while not attack.stop.is_set():
            came = [connection for connection in pool.map(come, attack.certificates) if connection is not None]
            attack.did["whole storms"] += len(came) == len(attack.certificates)
            for connection in came:
                connection.close()


def slow_readers(attack: Attack) -> None:
    """Devices that subscribe, have much sent to themselves and read none of it."""

    def deafen(certificate: Path) -> None:
        topic = f"devices/{certificate.stem}/local"
        with contextlib.suppress(OSError), attack.enter(certificate) as connection:
            connection.sendall(packets.packet(0x82, b"\x00\x01" + packets.text(topic) + b"\x01"))
            message = packets.publish(topic, bytes(32_768), qos=0)
            connection.settimeout(0.5)
            while not attack.stop.is_set():
                with contextlib.suppress(TimeoutError):
                    connection.sendall(message)
                    attack.did["sent"] += 1

    with ThreadPoolExecutor(SLOW_READERS) as pool:
        list(pool.map(deafen, attack.certificates[:SLOW_READERS]))


def big_connects(attack: Attack) -> None:
    """CONNECTs of a megabyte, as fast as they are taken."""
    connect = packets.packet(0x10, packets.text("MQTT") + b"\x04\x02\x00\x3c" + bytes(MEGABYTE))
    settings = context(attack.ca, attack.certificates[0])
    while not attack.stop.is_set():
        with contextlib.suppress(OSError), settings.wrap_socket(attack.dial(), server_hostname="localhost") as secure:
            attack.did["sent"] += 1
            secure.sendall(connect)
            secure.recv(1)


def hasty(attack: Attack) -> None:
    """One device that sends FASTER times as much as a well-behaved one, at QoS 1."""
    certificate = attack.certificates[0]
    connection = attack.enter(certificate)
    connection.settimeout(0.0)
    message = packets.publish(f"devices/{certificate.stem}/telemetry/main", bytes(128))
    began, pause = time.monotonic(), 1 / USUAL_RATE / FASTER
    with connection:
        while not attack.stop.wait(pause):
            due = int((time.monotonic() - began) * USUAL_RATE * FASTER) - attack.did["sent"]
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                connection.sendall(message * due)
                attack.did["sent"] += due
                connection.recv(65_536)


ATTACKS: dict[str, Callable[[Attack], None]] = {
    "half-open": half_open,
    "storm": storm,
    "slow-readers": slow_readers,
    "big-connects": big_connects,
    "hasty": hasty,
}


def main(arguments: Sequence[str]) -> int:
    """One attack, until SIGTERM."""
    kind, port, ca, certificates = arguments
    os.nice(10)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    attack = Attack(int(port), Path(ca), sorted(Path(certificates).glob("*.pem")), stop)
    ATTACKS[kind](attack)
    print(json.dumps(attack.did), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
