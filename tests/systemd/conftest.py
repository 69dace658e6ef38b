"""A gateway as README.md installs it, in a container with a real systemd."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.gateway import CONFIG, Gateway
from tests.systemd.image import ImageFailure, gateway_image, install_checkout, step
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
    try:
        image = gateway_image(cache, ROOT / "requirements.lock")
    except ImageFailure as failure:
        pytest.skip(f"the container's file system cannot be made here: {failure}")
    _clear_away(cache)
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


def _clear_away(cache: Path) -> None:
    """Removes what a run that was killed has left."""
    for left in cache.glob("machine-*"):
        if not Path("/proc", left.stem.removeprefix("machine-")).exists():
            shutil.rmtree(left) if left.is_dir() else left.unlink()


@pytest.fixture(scope="module")
def configured(machine: Machine) -> Machine:
    """The same with certificates and a configuration."""
    certs = ("/opt/busbridge/bin/busbridge", "certs")
    machine.run(*certs, "init", "--dir", "/root/ca")
    machine.run(*certs, "issue", "dev-00001", "--dir", "/root/ca", "--out", "/root/devices")
    for_the_service = ("-m", "0640", "-g", "busbridge")
    machine.run("install", "-d", "-m", "0750", "-g", "busbridge", "/etc/busbridge", "/etc/busbridge/certs")
    files = [f"/root/ca/{name}" for name in ("ca.pem", "crl.pem", "server.pem", "server.key")]
    machine.run("install", *for_the_service, "-t", "/etc/busbridge/certs", *files)
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
