"""The service in its machine: systemctl, and a device that publishes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from tests.systemd.machine import Machine

CONFIG = """\
[gateway]
id = "gw-systemd"

[[listeners]]
bind = "127.0.0.1:8883"
[listeners.tls]
certificate = "certs/server.pem"
private_key = "certs/server.key"
client_ca = "certs/ca.pem"
crl = "certs/crl.pem"

[[routes]]
filter = "devices/{device}/telemetry/#"
topic = "telemetry"
seal = "plain"

[jsonl]
directory = "/var/lib/busbridge/out"
"""


class Gateway:
    """`busbridge.service` in a machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def systemctl(self, verb: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs one of systemctl's verbs on the service."""
        return self.machine.run("systemctl", verb, "busbridge.service", check=check)

    def signal(self, name: str) -> None:
        """Sends a signal to the main process alone."""
        self.machine.run("systemctl", "kill", "--kill-whom=main", f"--signal={name}", "busbridge.service")

    def shows(self, name: str) -> str:
        """Return one of the service's properties (org.freedesktop.systemd1(5))."""
        return self.machine.run(
            "systemctl", "show", "busbridge.service", f"--property={name}", "--value"
        ).stdout.strip()

    @property
    def pid(self) -> int:
        """The main process's id in the container."""
        return int(self.shows("MainPID"))

    def journal(self) -> str:
        """Return what the service has said."""
        return self.machine.run("journalctl", "--unit=busbridge", "--output=cat", "--no-pager").stdout

    def publish(self, payload: str) -> int:
        """Publishes at QoS 1 over mutual TLS; the exit code is 0 once the gateway has acknowledged."""
        home = self.machine.root
        device, ca = home / "root" / "devices" / "dev-00001.pem", home / "etc" / "busbridge" / "certs" / "ca.pem"
        where = ("-h", "127.0.0.1", "-p", "8883", "--cafile", str(ca), "--cert", str(device), "--key", str(device))
        message = ("-i", "dev-00001", "-V", "5", "-q", "1", "-t", "devices/dev-00001/telemetry/t", "-m", payload)
        return self.machine.beside("mosquitto_pub", *where, *message, check=False).returncode

    def forwarded(self) -> str:
        """Return the files that the sink has written."""
        out = self.machine.root / "var" / "lib" / "busbridge" / "out"
        return "".join(path.read_text() for path in sorted(out.glob("*.jsonl*")))


def eventually(holds: Callable[[], bool], within_s: float = 20.0) -> bool:
    """Return whether something becomes true in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
