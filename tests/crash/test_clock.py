"""A gateway without a battery: it starts in 1970, its clock steps by hours, and what readers are told of the time.

Both processes are real; the device side looks at clocks that the test sets, on a start of the machine and later.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bridge.log.boot_clocks import BootClocks
from bridge.log.forensics import find_lanes
from tests.bench.support.processes import children
from tests.crash.clocked_daemon import Setting
from tests.interop.gateway import Gateway, wait_until
from tests.interop.wire import PUBACK, Wire

TRUE_NS = 1_800_000_000 * 10**9
"""What the right wall clock is ahead of each boot's monotonic one."""
NOBODY = 'bootstrap_servers = ["127.0.0.1:1"]'
HOUR_NS = 3600 * 10**9
FIRST_BOOT, NEXT_BOOT = "a1" * 16, "b2" * 16


class Sent(msgspec.Struct):
    """One message, and between which readings of the true time it was published."""

    payload: str
    before_ms: int
    after_ms: int


class Box(Gateway):
    """A gateway, and the clocks of its machine."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, sink=f"[kafka]\n{NOBODY}\n")
        self._text = self.config.read_text()
        self.clocks = directory / "clocks"
        self.setting = Setting(FIRST_BOOT, 0, 0, synchronised=False)
        self.sent: list[Sent] = []

    def boot(self, boot: str, ahead_ns: int, *, synchronised: bool = False) -> None:
        """The machine starts, and the gateway on it."""
        self.setting = Setting(boot, time.monotonic_ns(), 0, synchronised)
        self.set_clock(ahead_ns, synchronised=synchronised)
        self.command = [sys.executable, "-m", "tests.crash.clocked_daemon", str(self.config), str(self.clocks)]
        self.start()
        wait_until(lambda: children(self.pid), "the bus side is there")

    def set_clock(self, ahead_ns: int, *, synchronised: bool) -> None:
        """The wall clock steps, if need be."""
        self.setting.ahead_ns, self.setting.synchronised = ahead_ns, synchronised
        self.setting.save(self.clocks)

    def synchronise(self) -> None:
        """And wait until the gateway has noticed, and has it on disk."""
        boot = bytes.fromhex(self.setting.boot)
        self.set_clock(TRUE_NS, synchronised=True)
        wait_until(lambda: self.known().wall_ns(boot, 0) is not None, "it has noticed")
        assert "the clock is set" in self.log()

    def known(self) -> BootClocks:
        """What the lane's files say of boots whose clock was set late."""
        [lane] = [lane for lane in find_lanes(self.directory / "data") if lane.name == "normal"]
        return lane.clocks()

    def forward(self, *, on: bool) -> None:
        """Whether there is anybody to forward to; the bus side reads that when it starts, so it starts anew."""
        text = self._text.replace("[kafka]", "[jsonl]").replace(NOBODY, f'directory = "{self.directory}/out"')
        self.config.write_text(text if on else self._text)
        for process in children(self.pid) if self.running else ():
            os.kill(process, signal.SIGKILL)

    def publish(self, *payloads: str) -> None:
        """QoS 1, each acknowledged."""
        with Wire(self.port, "one") as one:
            one.connected()
            for number, payload in enumerate(payloads, 1):
                before_ms = self._true_ms()
                one.publish("devices/one/telemetry/t", payload.encode(), 1, number)
                assert one.packet_ids(PUBACK, 1) == [number]
                self.sent.append(Sent(payload, before_ms, self._true_ms()))

    def read(self) -> list[tuple[str, str, int]]:
        """Payload, header `clock` and timestamp of what was forwarded, in order."""
        lines = [line for path in sorted((self.directory / "out").glob("*.jsonl")) for line in path.open()]
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        return [
            (record["value"], dict(record["headers"])["clock"], record["timestamp"])
            for record in records
            if record["topic"] == "telemetry"
        ]

    def forwarded_all(self) -> list[tuple[str, str, int]]:
        """As `read`, when everything sent is there, once and in order."""
        wait_until(lambda: self._position() > len(self.sent), f"all are forwarded: {self.log()}")
        found = self.read()
        assert [payload for payload, *_ in found] == [each.payload for each in self.sent]
        return found

    def assert_true(self, found: list[tuple[str, str, int]]) -> None:
        """Each has the time at which it was published."""
        for (_, _, at_ms), sent in zip(found, self.sent, strict=True):
            assert sent.before_ms <= at_ms <= sent.after_ms

    def _position(self) -> int:
        """Of the sink; lines behind it may be written anew."""
        path = self.directory / "out" / "position"
        return json.loads(path.read_text())["positions"].get("normal", 0) if path.exists() else 0

    def _true_ms(self) -> int:
        return (time.monotonic_ns() - self.setting.booted_ns + TRUE_NS) // 1_000_000


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """Not started; ended with the test."""
    made = Box(tmp_path)
    yield made
    if made.running:
        made.kill()


def test_what_came_before_the_clock_was_set_is_corrected_if_it_was_not_sent(box: Box) -> None:
    box.forward(on=True)
    box.boot(FIRST_BOOT, 0)
    box.publish("sent in 1970")
    box.forwarded_all()
    box.forward(on=False)
    box.publish("kept in 1970", "this too")
    box.synchronise()
    box.publish("now")
    box.forward(on=True)
    found = box.forwarded_all()
    assert [clock for _, clock, _ in found] == ["unsynchronised", "corrected", "corrected", "synchronised"]
    assert found[0][2] < HOUR_NS // 1_000_000, "it was sent with the time as it was known"
    del found[0], box.sent[0]
    box.assert_true(found)


@pytest.mark.parametrize("wrong_ns", [5 * HOUR_NS, -5 * HOUR_NS])
def test_a_clock_that_is_hours_off_and_two_starts_before_anything_is_forwarded(box: Box, wrong_ns: int) -> None:
    box.boot(FIRST_BOOT, TRUE_NS + wrong_ns)
    box.publish("hours off")
    box.kill()
    box.start()  # in the same boot: what waits for the time is found again
    box.publish("still")
    box.synchronise()
    box.kill()
    box.forward(on=True)
    box.boot(NEXT_BOOT, TRUE_NS + wrong_ns)
    found = box.forwarded_all()
    assert [clock for _, clock, _ in found] == ["corrected", "corrected"]
    assert found == sorted(found, key=lambda each: each[2])
    assert all(abs(at_ms * 1_000_000 - TRUE_NS) < HOUR_NS for *_, at_ms in found)
    assert box.stop() == 0


def test_a_boot_that_never_knew_the_time_stays_so_and_export_says_it_too(box: Box) -> None:
    box.boot(FIRST_BOOT, 0)
    box.publish("never known")
    box.kill()
    box.boot(NEXT_BOOT, 0)
    box.publish("known later")
    box.synchronise()
    box.kill()
    known = box.known()
    assert known.wall_ns(bytes.fromhex(FIRST_BOOT), 0) is None
    assert abs((known.wall_ns(bytes.fromhex(NEXT_BOOT), 0) or 0) - TRUE_NS) < 10**9
    box.forward(on=True)
    box.boot(NEXT_BOOT, TRUE_NS, synchronised=True)
    found = box.forwarded_all()
    assert [clock for _, clock, _ in found] == ["unsynchronised", "corrected"]
    assert found[0][2] < HOUR_NS // 1_000_000 < found[1][2]


def test_a_step_of_a_clock_that_counts_as_synchronised_is_said_and_changes_nothing_that_came_before(box: Box) -> None:
    box.boot(FIRST_BOOT, TRUE_NS - 3 * HOUR_NS, synchronised=True)
    box.publish("believed")
    box.synchronise()
    assert "the clock was set by +10800.0 s although it counted as synchronised" in box.log()
    box.publish("after")
    box.forward(on=True)
    found = box.forwarded_all()
    assert [clock for _, clock, _ in found] == ["synchronised", "synchronised"]
    assert found[1][2] - found[0][2] >= 3 * HOUR_NS // 1_000_000
