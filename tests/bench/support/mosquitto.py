"""mosquitto with everything in memory: what the same load costs a broker in C that promises nothing about the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.bench.support.processes import running, wait_for_port
from tests.bench.support.site import Server, Site

CONFIGURATION = """\
per_listener_settings true
persistence false
log_type error
listener {plain} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
listener {tls} 127.0.0.1
allow_anonymous true
cafile {ca}
certfile {certificate}
keyfile {key}
require_certificate true
use_identity_as_username true
"""


def executable() -> str | None:
    """Where it is installed; /usr/sbin is not on everybody's path."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def mosquitto(site: Site, directory: Path, program: str) -> Iterator[Server]:
    """A running one with a plain and a mutual-TLS listener."""
    directory.mkdir(parents=True)
    text = CONFIGURATION.format(
        plain=site.plain_port, tls=site.tls_port, ca=site.ca, certificate=site.certificate, key=site.private_key
    )
    configuration = directory / "mosquitto.conf"
    configuration.write_text(text + ("user root\n" if os.geteuid() == 0 else ""))
    with running([program, "-c", configuration], directory / "mosquitto.log") as process:
        wait_for_port(site.plain_port, process)
        yield Server(processes={"device": (process.pid,)})
