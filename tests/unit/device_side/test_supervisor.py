"""The bus side as a child: a small real process stands in for it and says what it was told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bridge.config import Supervisor
from bridge.device_side.supervisor import BusSide
from bridge.log.doorbell import Health, Note

CHILD = """
import select, socket, sys, time
from bridge.log.doorbell import Doorbell, DoorbellClosed, Health, Note
behaviour, out, fd = sys.argv[1], sys.argv[2], int(sys.argv[4])
with open(out, "a") as started:
    print(time.monotonic(), file=started)
if behaviour == "dies":
    sys.exit(3)
bell = Doorbell(socket.socket(fileno=fd))
bell.send(Note(health=Health("connected", 1.0), ready=True))
try:
    while True:
        select.select([bell], [], [])
        for note in bell.receive():
            bell.send(Note(forwarded=note.committed))
except DoorbellClosed:
    if behaviour == "hangs":
        time.sleep(60)
"""


class Parent:
    """The device side around it."""

    def __init__(self, directory: Path, behaviour: str, settings: Supervisor, program: str = sys.executable) -> None:
        self.starts_file = directory / "starts"
        self.committed, self.notes = {"normal": 1}, list[Note]()
        command = (program, "-c", CHILD, behaviour, str(self.starts_file))
        loop = asyncio.get_running_loop()
        self.bus_side = BusSide(loop, settings, command, positions=self.positions, on_note=self.notes.append)
        self.task = asyncio.create_task(self.bus_side.run())

    def positions(self) -> Note:
        return Note(committed=self.committed)

    def starts(self) -> list[float]:
        return [float(line) for line in self.starts_file.read_text().split()] if self.starts_file.exists() else []

    async def stop(self) -> float:
        """Seconds that it took."""
        begun = time.monotonic()
        await self.bus_side.stop()
        await asyncio.wait_for(self.task, 10)
        return time.monotonic() - begun


NewParent = Callable[..., Parent]


@pytest.fixture
async def new_parent(tmp_path: Path) -> AsyncIterator[NewParent]:
    made: list[Parent] = []

    def make(behaviour: str, settings: Supervisor | None = None, **options: str) -> Parent:
        made.append(Parent(tmp_path, behaviour, settings or Supervisor(restart_delay=0.05), **options))
        return made[-1]

    yield make
    for parent in made:
        if parent.bus_side.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(parent.bus_side.pid, signal.SIGKILL)
        await parent.stop()


async def until(condition: Callable[[], object]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("waited in vain")


async def test_it_is_told_all_positions_at_once_and_again_when_they_change(new_parent: NewParent) -> None:
    parent = new_parent("lives")
    await until(lambda: any(note.forwarded == {"normal": 1} for note in parent.notes))
    assert parent.bus_side.health == Health("connected", 1.0)
    parent.committed = {"normal": 7}
    for _ in range(100):
        parent.bus_side.ring()
    await until(lambda: parent.notes[-1].forwarded == {"normal": 7})
    assert len(parent.notes) < 10, "a ring in the same moment is one note"
    assert await parent.stop() < 5


async def test_a_child_that_dies_is_started_again_ever_more_slowly(
    new_parent: NewParent, caplog: pytest.LogCaptureFixture
) -> None:
    parent = new_parent("dies", Supervisor(restart_delay=0.2, restart_delay_max=0.8))
    await until(lambda: parent.bus_side.restarts >= 3)
    assert await parent.stop() < 1
    first, second, third = parent.starts()[:3]
    assert second - first >= 0.2
    assert third - second >= 0.4
    assert "bus side ended with exit code 3; starting it again in 0.2 s" in caplog.messages
    assert "bus side ended with exit code 3; starting it again in 0.4 s" in caplog.messages


async def test_a_child_that_is_killed_is_started_again_and_told_everything(new_parent: NewParent) -> None:
    parent = new_parent("lives")
    await until(lambda: parent.notes)
    assert parent.bus_side.pid is not None
    os.kill(parent.bus_side.pid, signal.SIGKILL)
    await until(lambda: parent.bus_side.restarts == 1)
    assert parent.bus_side.health.state == "restarting"
    parent.notes.clear()
    await until(lambda: any(note.forwarded == {"normal": 1} for note in parent.notes))
    assert len(parent.starts()) == 2


async def test_stopping_during_the_back_off_is_prompt(new_parent: NewParent) -> None:
    parent = new_parent("dies", Supervisor(restart_delay=30))
    await until(lambda: parent.bus_side.restarts)
    assert await parent.stop() < 1


async def test_stopping_while_the_child_is_being_started_ends_it(new_parent: NewParent) -> None:
    parent = new_parent("lives")
    await asyncio.sleep(0)  # `run` has begun and waits for the operating system
    assert await parent.stop() < 5
    assert parent.bus_side.pid is None


async def test_a_child_that_does_not_end_is_killed(new_parent: NewParent, caplog: pytest.LogCaptureFixture) -> None:
    parent = new_parent("hangs", Supervisor(stop_timeout=0.3))
    await until(lambda: parent.notes)
    assert 0.3 <= await parent.stop() < 3
    assert any("did not end within 0.3 s and is killed" in message for message in caplog.messages)


async def test_a_program_that_cannot_be_started_is_tried_again(
    new_parent: NewParent, caplog: pytest.LogCaptureFixture
) -> None:
    parent = new_parent("lives", program="/nowhere/python")
    await until(lambda: parent.bus_side.restarts >= 2)
    assert not parent.task.done()
    assert any("cannot be started (No such file" in message for message in caplog.messages)
    assert await parent.stop() < 1
