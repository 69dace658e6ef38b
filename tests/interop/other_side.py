"""The other side of the script: our daemon, mosquitto, and amqtt's broker, each on ports of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.bench.support.processes import free_port
from tests.interop.gateway import SMALL_QUEUE, Gateway, wait_until

OPEN = '\n[acl]\npublish = ["#"]\nsubscribe = ["#"]\n'
WEBSOCKET = '\n[[listeners]]\nbind = "127.0.0.1:{port}"\nanonymous = true\npath = "/mqtt"\n'


class OtherSide(msgspec.Struct, frozen=True):
    """A broker that runs."""

    name: str
    port: int
    ws_port: int


@contextmanager
def busbridge(directory: Path) -> Iterator[OtherSide]:
    """Ours, in a process of its own."""
    ws_port = free_port()
    gateway = Gateway(directory, SMALL_QUEUE + OPEN + WEBSOCKET.format(port=ws_port)).start()
    yield OtherSide("busbridge", gateway.port, ws_port)
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log(), gateway.log()


@contextmanager
def mosquitto(directory: Path) -> Iterator[OtherSide]:
    """The one that is installed."""
    port, ws_port = free_port(), free_port()
    command = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    config = directory / "mosquitto.conf"
    config.write_text(
        f"allow_anonymous true\nlistener {port} 127.0.0.1\nlistener {ws_port} 127.0.0.1\nprotocol websockets\n"
    )
    with _running([command, "-c", str(config)], port):
        yield OtherSide("mosquitto", port, ws_port)


@contextmanager
def amqtt(_directory: Path) -> Iterator[OtherSide]:
    """amqtt's, which speaks MQTT 3.1.1 alone."""
    port, ws_port = free_port(), free_port()
    driver = Path(__file__).parent / "clients" / "amqtt_broker.py"
    with _running([sys.executable, str(driver), str(port), str(ws_port)], port):
        yield OtherSide("amqtt", port, ws_port)


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(port), f"{command} listens")
        yield
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return False
    return True
