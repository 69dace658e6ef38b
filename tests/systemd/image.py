"""A gateway's file system: Debian 12 with systemd, and busbridge's locked dependencies in /opt/busbridge.

Made once for each lock file and kept in `.cache/`; the checkout itself is not in it.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates"
PYTHON = "3.11"
"""Debian 12's."""
GLIBC = ("2_36", "2_35", "2_34", "2_28", "2_27", "2_24", "2_17", "2_12", "2_5")
"""What wheels may ask for, up to Debian 12's own (PEP 600)."""


class ImageFailure(Exception):
    """A step of making the image that did not work, with its last words."""


def gateway_image(cache: Path, lock: Path) -> Path:
    """Return the image's directory, made if it is not there. Needs root. Raises ImageFailure."""
    image = cache / f"gateway-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if image.exists():
        return image
    for old in cache.glob("gateway-*"):
        shutil.rmtree(old)
    unfinished = cache / f"unfinished-{image.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    cache.mkdir(exist_ok=True)
    step("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(unfinished))
    _install_locked(unfinished, lock)
    return unfinished.rename(image)


def _install_locked(root: Path, lock: Path) -> None:
    """Downloads here, where there is a network, and installs there, where there is none."""
    wheels = root / "root" / "wheels"
    platforms = [f"--platform=manylinux_{version}_{platform.machine()}" for version in GLIBC]
    legacy = [f"--platform=manylinux{name}_{platform.machine()}" for name in ("2014", "2010", "1")]
    download = ("download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:")
    target = (f"--python-version={PYTHON}", "--implementation=cp", *platforms, *legacy)
    step(sys.executable, "-m", "pip", *download, *target, f"--dest={wheels}", f"--requirement={lock}")
    shutil.copy(lock, wheels / "requirements.lock")
    step("chroot", str(root), "python3", "-m", "venv", "/opt/busbridge")
    offline = ("--quiet", "--no-index", "--find-links=/root/wheels", "--require-hashes")
    pip = ("chroot", str(root), "/opt/busbridge/bin/pip")
    step(*pip, "install", *offline, "--requirement=/root/wheels/requirements.lock")
    shutil.rmtree(wheels)


def install_checkout(root: Path, checkout: Path) -> None:
    """Builds a wheel of the checkout and installs it with the unit, as README.md says. Raises ImageFailure."""
    wheels = root / "root"
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", f"--wheel-dir={wheels}")
    step(sys.executable, "-m", "pip", *build, str(checkout))
    wheel = next(wheels.glob("busbridge-*.whl")).name
    pip = ("chroot", str(root), "/opt/busbridge/bin/pip")
    step(*pip, "install", "--quiet", "--no-index", "--no-deps", f"/root/{wheel}")
    shutil.copy(checkout / "systemd" / "busbridge.service", root / "etc" / "systemd" / "system")
    (root / "etc" / "sysusers.d").mkdir(exist_ok=True)
    shutil.copy(checkout / "systemd" / "busbridge.sysusers", root / "etc" / "sysusers.d" / "busbridge.conf")


def step(*command: str) -> None:
    """Runs one command. Raises ImageFailure."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise ImageFailure(f"{command[0]}: {done.stderr.strip()[-600:]}")
