"""Site: the directory of a demonstration, made by the same commands that a user would call."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

RECIPIENT = "data-team"
TELEMETRY, STATE, DESIRED = "telemetry", "device-state", "device-desired"
_PORT_OF_FIRST_CONFIG = '"0.0.0.0:8883"'


class SiteError(Exception):
    """A command failed; the text is what it said."""


class Site:
    """A gateway's files, its devices' certificates, its readers' keys."""

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        """Say where everything is; nothing is made. Each command is shown by `say`."""
        self.directory = directory
        self.gateway = directory / "gateway"
        self.config = self.gateway / "busbridge.toml"
        self.ca = self.gateway / "certs" / "ca.pem"
        self.devices = directory / "devices"
        self.key = directory / "keys" / f"{RECIPIENT}.key"
        self.port = _free_port()
        self._say = say

    def make(self, devices: int, kafka: str) -> None:
        """Make CA, certificates, keys and configuration.

        Raises:
            SiteError: a command failed.
        """
        public = str(self.key.with_suffix(".pub"))
        self._busbridge("keys", "new", RECIPIENT, "--out", str(self.key.parent))
        gateway = ("init", str(self.gateway), "--gateway-id", "gw-demo", "--kafka", kafka, "--recipient", public)
        self._busbridge(*gateway)
        certs = ("certs", "issue", "--count", str(devices), "--dir", str(self.ca.parent), "--out", str(self.devices))
        self._busbridge(*certs)
        self._choose_port()

    def _busbridge(self, *arguments: str) -> None:
        self._say(f"$ busbridge {shlex.join(arguments)}")
        done = subprocess.run([sys.executable, "-m", "bridge", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SiteError(f"busbridge {shlex.join(arguments)} failed:\n{done.stderr}")

    def _choose_port(self) -> None:
        """The first configuration listens on 8883 for everybody; the demo on a free port for this machine."""
        text = self.config.read_text()
        if _PORT_OF_FIRST_CONFIG not in text:
            raise SiteError(f"{self.config} has no {_PORT_OF_FIRST_CONFIG}")
        self.config.write_text(text.replace(_PORT_OF_FIRST_CONFIG, f'"127.0.0.1:{self.port}"'))


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
