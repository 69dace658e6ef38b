"""A real daemon, real clients (paho), and a disk of 16 MB that others fill, or that refuses from one moment on.

Full is a state: nobody is acknowledged, the log says why, and when there is space it goes on by itself. A disk that
refuses to write is the end of the process, in one line; the next start has everything that was acknowledged.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.bench.support.processes import children
from tests.crash.conftest import Preload
from tests.interop.gateway import Gateway, wait_until

SMALL = """
[mqtt]
max_packet_size = "64 KiB"
[queue]
free_space_floor = "1 MiB"
segment_bytes = "512 KiB"
device_share = 100
refuse_after = "1 h"
[lanes.state]
segment_bytes = "1 MiB"
"""
PAYLOAD = b"." * (8 << 10)
VERSIONS = {"old": MQTTProtocolVersion.MQTTv311, "new": MQTTProtocolVersion.MQTTv5}


class Publisher:
    """A client that publishes numbers, 20 in flight, and comes back by itself."""

    def __init__(self, gateway: Gateway, name: str) -> None:
        self.acknowledged: list[int] = []
        self._numbers: dict[int, int] = {}
        self._name = name
        self.given = 0
        self._topic = f"devices/{name}/telemetry/t"
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=VERSIONS[name])
        self._client.max_inflight_messages_set(20)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_publish = self._on_publish
        self._client.connect("127.0.0.1", gateway.port, keepalive=600)
        self._client.loop_start()

    def give(self, count: int) -> None:
        """So many more to publish."""
        for _ in range(count):
            self.given += 1
            info = self._client.publish(self._topic, PAYLOAD + f"{self._name} {self.given}".encode(), 1)
            self._numbers[info.mid] = self.given

    @property
    def done(self) -> bool:
        """All that was given is acknowledged."""
        return len(self.acknowledged) == self.given

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_publish(self, _client: object, _data: object, mid: int, reason: object, _properties: object) -> None:
        assert not getattr(reason, "is_failure", False), reason
        wait_until(lambda: mid in self._numbers, "its number is known")
        self.acknowledged.append(self._numbers.pop(mid))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB for the data directory."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a tmpfs of 16 MB")
    mounted = tmp_path / "data"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16M", "tmpfs", mounted]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.decode().strip()}")
    yield mounted
    subprocess.run(["umount", "-l", mounted], check=True)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path, SMALL)
    yield gateway
    if gateway.running:
        gateway.kill()


def fill(disk: Path) -> list[Path]:
    """Others take all the space there is."""
    files = []
    for number in itertools.count():
        files.append(disk / f"others-{number}")
        try:
            files[-1].write_bytes(bytes(64 << 10))
        except OSError:
            return files
    return files


def numbers(gateway: Gateway, name: str) -> list[int]:
    """What was forwarded of this device, in order."""
    found = (value[len(PAYLOAD) :].split() for value in gateway.forwarded())
    return [int(number) for device, number in found if device.decode() == name]


def settled(publishers: list[Publisher]) -> bool:
    """Whether nothing more is acknowledged for a second."""
    before = [len(each.acknowledged) for each in publishers]
    time.sleep(1.0)
    return before == [len(each.acknowledged) for each in publishers]


def test_a_disk_that_others_fill_holds_publishers_up_until_there_is_space(disk: Path, gateway: Gateway) -> None:
    gateway.start()
    pid = gateway.pid
    wait_until(lambda: "bus side is" in gateway.log(), "the bus side has begun")
    for process in children(pid):
        os.kill(process, signal.SIGSTOP)
    publishers = [Publisher(gateway, name) for name in VERSIONS]
    for each in publishers:
        each.give(20)
    wait_until(lambda: all(each.done for each in publishers), "the first are acknowledged")
    others = fill(disk)
    for each in publishers:
        each.give(130)
    wait_until(lambda: settled(publishers) and "waiting: lane normal: " in gateway.log(), "the lane is full")
    assert "bytes are free, the floor is" in gateway.log()
    assert not any(each.done for each in publishers)
    held = [len(each.acknowledged) for each in publishers]
    for path in others:
        path.unlink()
    wait_until(lambda: all(len(each.acknowledged) > count for each, count in zip(publishers, held, strict=True)), "on")
    for process in children(pid):
        os.kill(process, signal.SIGCONT)
    wait_until(lambda: all(each.done for each in publishers), "all is acknowledged", 60)
    wait_until(lambda: all(len(numbers(gateway, name)) == 150 for name in VERSIONS), "all is forwarded", 60)
    for name in VERSIONS:
        assert numbers(gateway, name) == list(range(1, 151))
    wait_until(lambda: "goes on: lane normal" in gateway.log(), "the log says that it is over")
    for each in publishers:
        each.close()
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log()


@pytest.mark.parametrize(("call", "error"), [("fdatasync", errno.EIO), ("pwritev", errno.EROFS)])
def test_a_disk_that_refuses_ends_it_and_the_next_start_has_all_that_was_acknowledged(
    gateway: Gateway, preload: Preload, monkeypatch: pytest.MonkeyPatch, call: str, error: int
) -> None:
    lane = gateway.directory / "data" / "uplink" / "normal"
    limits = {"FAIL_CALL": call, "FAIL_BELOW": f"{lane}/", "FAIL_FROM": "12", "FAIL_TO": "1000000"}
    with monkeypatch.context() as spoilt:
        for variable, value in (preload("fail_calls.c") | limits | {"FAIL_ERRNO": str(error)}).items():
            spoilt.setenv(variable, value)
        gateway.start()
    publishers = [Publisher(gateway, name) for name in VERSIONS]
    given = 0
    while gateway.running and given < 5_000:
        given += 1
        for each in publishers:
            each.give(1)
        time.sleep(0.02)
    wait_until(lambda: not gateway.running, "it gives up")
    assert gateway.process is not None
    assert gateway.process.returncode == 1
    assert f"giving up: writing {lane}" in gateway.log()
    assert os.strerror(error) in gateway.log()
    before = [list(each.acknowledged) for each in publishers]
    gateway.start()
    wait_until(lambda: all(each.done for each in publishers), "all is acknowledged after the restart", 60)
    for each in publishers:
        each.close()
    wait_until(
        lambda: all(set(numbers(gateway, name)) >= set(range(1, 1 + given)) for name in VERSIONS), "all is there", 60
    )
    assert gateway.stop() == 0
    for name, acknowledged in zip(VERSIONS, before, strict=True):
        found = list(dict.fromkeys(numbers(gateway, name)))
        assert acknowledged == list(range(1, 1 + len(acknowledged)))
        assert found == list(range(1, 1 + given)), "at least once, in order"
