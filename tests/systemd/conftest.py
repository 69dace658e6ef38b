"""A gateway as README.md installs it, in a container with a real systemd."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.gateway import CONFIG, Gateway
from tests.systemd.image import gateway_image, install_checkout, step
from tests.systemd.machine import Machine, MachineFailure

ROOT = Path(__file__).parents[2]
TOOLS = ("mmdebstrap", "systemd-nspawn", "nsenter", "mosquitto_pub")


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A booted container with the checkout installed."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"a container with systemd needs root and {', '.join(missing or TOOLS)}")
    cache = ROOT / ".cache"
    image = gateway_image(cache, ROOT / "requirements.lock")
    root = cache / f"machine-{os.getpid()}"
    step("cp", "-a", "--reflink=auto", str(image), str(root))
    try:
        install_checkout(root, ROOT)
        try:
            machine = Machine.boot(root)
        except MachineFailure as failure:
            pytest.skip(str(failure))
        yield machine
        machine.halt()
    finally:
        shutil.rmtree(root, ignore_errors=True)
        root.with_suffix(".log").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def configured(machine: Machine) -> Machine:
    """The same with certificates and a configuration."""
    machine.run("install", "-d", "-m", "0750", "-g", "busbridge", "/etc/busbridge")
    certs = ("/opt/busbridge/bin/busbridge", "certs")
    machine.run(*certs, "init", "--dir", "/etc/busbridge/certs")
    machine.run(*certs, "issue", "dev-00001", "--dir", "/etc/busbridge/certs", "--out", "/root/devices")
    machine.run("chown", "-R", "root:busbridge", "/etc/busbridge")
    machine.run("chmod", "-R", "g+rX,o-rwx", "/etc/busbridge")
    (machine.root / "etc" / "busbridge" / "busbridge.toml").write_text(CONFIG)
    return machine


@pytest.fixture
def gateway(configured: Machine) -> Iterator[Gateway]:
    """The service, started; stopped afterwards."""
    gateway = Gateway(configured)
    gateway.systemctl("reset-failed", check=False)
    gateway.systemctl("start")
    yield gateway
    gateway.systemctl("stop", check=False)
