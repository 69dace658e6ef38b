"""The few words a service says to systemd (sd_notify(3)). Without systemd they are said to nobody."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

_MICROSECONDS = 1_000_000


class Notifier:
    """Sends to the socket that systemd named in the environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_interval = int(environ.get("WATCHDOG_USEC", "0")) / _MICROSECONDS / 2
        """Seconds between two `watchdog` calls that keep systemd content; 0: it does not watch."""

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self, mono_ns: int) -> None:
        self._send(f"RELOADING=1\nMONOTONIC_USEC={mono_ns // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        self._send(f"STATUS={text}")

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A service must not fail because nobody listens to how it is doing.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(text.encode(), self._address)
