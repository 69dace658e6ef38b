"""What a service says to systemd, heard on a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.device_side.systemd import Notifier


@pytest.fixture
def ear() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        yield sock


def test_every_word(ear: socket.socket, tmp_path: Path) -> None:
    ear.bind(str(tmp_path / "notify"))
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"})
    notifier.ready("listening")
    notifier.reloading(5_000_999)
    notifier.status("busy")
    notifier.watchdog()
    notifier.stopping()
    assert [ear.recv(1000).decode() for _ in range(5)] == [
        "READY=1\nSTATUS=listening",
        "RELOADING=1\nMONOTONIC_USEC=5000",
        "STATUS=busy",
        "WATCHDOG=1",
        "STOPPING=1",
    ]
    assert notifier.watchdog_interval == 15


def test_an_abstract_socket(ear: socket.socket) -> None:
    ear.bind("")  # the kernel chooses an abstract name, unix(7)
    name = ear.getsockname()
    Notifier({"NOTIFY_SOCKET": "@" + name[1:].decode()}).stopping()
    assert ear.recv(1000) == b"STOPPING=1"


def test_without_systemd_or_with_a_socket_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    quiet = Notifier({})
    quiet.ready("x")
    assert quiet.watchdog_interval == 0
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).watchdog()
