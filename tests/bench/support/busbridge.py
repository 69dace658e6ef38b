"""busbridge under the load: both processes, with a configuration of their own."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bridge.security import keys
from tests.bench.support.kafka import CHECKOUT, Broker
from tests.bench.support.processes import children, command_line, running, wait_for_port
from tests.bench.support.site import Server, Site

LANE = "normal"
CONFIGURATION = """\
[gateway]
id = "{gateway}"
data_dir = "{data}"

[[listeners]]
bind = "127.0.0.1:{tls}"
tls = {{ certificate = "{certificate}", private_key = "{key}", client_ca = "{ca}" }}

[[listeners]]
bind = "127.0.0.1:{plain}"
anonymous = true

[[listeners]]
bind = "127.0.0.1:{ws}"
anonymous = true
path = "/mqtt"

[[listeners]]
bind = "127.0.0.1:{wss}"
path = "/mqtt"
tls = {{ certificate = "{certificate}", private_key = "{key}", client_ca = "{ca}" }}

[[routes]]
filter = "devices/{{device}}/telemetry/#"
topic = "{topic}"
lane = "{lane}"
{sealing}

[kafka]
bootstrap_servers = ["{kafka}"]
"""
PLAIN = 'seal = "plain"'
SEALED = 'seal = "seal"\nrecipients = ["reader"]\n\n[recipients.reader]\npublic_key = "{key}"'


def bus_side_of(device_side: int, timeout_s: float = 20.0) -> int:
    """The process id of the bus side, which the device side starts."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for child in children(device_side):
            if "bus_side" in command_line(child):
                return child
        time.sleep(0.05)
    raise RuntimeError("the daemon has not started its bus side")


@contextlib.contextmanager
def busbridge(site: Site, directory: Path, broker: Broker, gateway: str, topic: str, seal: bool) -> Iterator[Server]:
    """A running daemon that forwards `devices/ID/telemetry/#` to `topic`."""
    directory.mkdir(parents=True)
    sealing = PLAIN
    if seal:
        public, _ = keys.new("reader", directory)
        sealing = SEALED.format(key=public)
    configuration = directory / "busbridge.toml"
    configuration.write_text(
        CONFIGURATION.format(
            gateway=gateway,
            data=directory / "data",
            **site.ports,
            certificate=site.certificate,
            key=site.private_key,
            ca=site.ca,
            topic=topic,
            lane=LANE,
            sealing=sealing,
            kafka=broker.address,
        )
    )
    command: list[str | Path] = [sys.executable, "-m", "bridge", "run", "--config", configuration]
    with running(command, directory / "busbridge.log", CHECKOUT) as process:
        wait_for_port(site.plain_port, process)  # the TLS port would log a peer that hung up
        yield Server(processes={"device": (process.pid,), "bus": (bus_side_of(process.pid),)})
