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

from tests.bench.support.certificates import Authority
from tests.interop.gateway import SMALL_QUEUE, wait_until
from tests.interop.websocket_gateway import WebSocketGateway
from tests.support.ports import free_port

OPEN = '\n[acl]\npublish = ["#"]\nsubscribe = ["#"]\n'


class OtherSide(msgspec.Struct, frozen=True):
    """A broker that runs: its port for each scheme, and who makes certificates that it lets in."""

    name: str
    ports: dict[str, int]
    authority: Authority | None = None

    def secrets(self, scheme: str, client_id: str) -> tuple[str, str] | None:
        """The CA and a certificate for this client; None where the scheme knows none."""
        if scheme != "wss" or self.authority is None:
            return None
        return str(self.authority.pem), str(self.authority.device(client_id))


@contextmanager
def busbridge(directory: Path) -> Iterator[OtherSide]:
    """Ours, in a process of its own."""
    gateway = WebSocketGateway(directory, SMALL_QUEUE + OPEN).start()
    ports = {"tcp": gateway.port, "ws": gateway.ws_port, "wss": gateway.wss_port}
    yield OtherSide("busbridge", ports, gateway.authority)
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log(), gateway.log()


@contextmanager
def mosquitto(directory: Path) -> Iterator[OtherSide]:
    """The one that is installed."""
    port = free_port()
    command = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    config = directory / "mosquitto.conf"
    config.write_text(f"allow_anonymous true\nlistener {port} 127.0.0.1\n")
    with _running([command, "-c", str(config)], port):
        yield OtherSide("mosquitto", {"tcp": port})


@contextmanager
def amqtt(_directory: Path) -> Iterator[OtherSide]:
    """amqtt's, which speaks MQTT 3.1.1 alone."""
    port = free_port()
    driver = Path(__file__).parent / "clients" / "amqtt_broker.py"
    with _running([sys.executable, str(driver), str(port)], port):
        yield OtherSide("amqtt", {"tcp": port})


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
