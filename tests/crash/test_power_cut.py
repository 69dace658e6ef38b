"""Power cuts at any call of a log's life, with any part of what was not synced on the disk.

A real writer's calls are recorded, replayed up to a point, and cut there (`disk`). After recovery the log holds what
was acknowledged, in order, once, and nothing that was not appended: the list in memory is the oracle. Nothing before
the durable cursor may be asked for, everything behind it must be there: where the oldest are dropped, in every third
life, as a record or in the file of a gap. The last one begins with a segment in which a bit is turned.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.log.cursor import Cursor
from bridge.log.dropped import dropped_at
from bridge.log.errors import LogDamaged
from bridge.log.log_id import load_or_create_log_id
from bridge.log.queue_key import Keyring
from bridge.log.reader import LogReader
from bridge.log.recovery import recover
from bridge.log.writer import LogWriter
from tests.crash.conftest import Preload
from tests.crash.disk import Call, Disk, calls, tree_of
from tests.crash.power_life import KEY, MARKS, SETTINGS, Chain, payload
from tests.support.effort import EFFORT
from tests.unit.log.lane import BOOT_ID, message

CHECKOUT = Path(__file__).parents[2]
LIVES = 12
KEYS = Keyring(None, [KEY])
KEPT = st.sampled_from([0.0, 0.05, 0.5, 0.5, 0.95, 1.0])


class Recording:
    """The calls of one life, the tree it began with, and what it said."""

    def __init__(
        self, root: Path, life: int, known: list[bytes], saved: int, before: dict[Path, bytes | None], record: bytes
    ) -> None:
        self.calls = list(calls(record))
        self.root = root
        self.life = life
        self.known = known
        """The payloads of the records that were there when it began."""
        self.spoilt = False
        """A bit of a record was turned before it began."""
        self._before = before
        self.saved = saved
        """The cursor's position when it began."""
        self._marks = next(call.descriptor for call in self.calls if call.kind == "o" and call.paths[0].name == MARKS)

    def __len__(self) -> int:
        return len(self.calls)

    def __repr__(self) -> str:
        return f"life {self.life}, {len(self)} calls"

    def said(self, cut: int, word: str) -> list[str]:
        """What the life said up to the cut behind this word."""
        said = (call.data.decode().split() for call in self.calls[:cut] if self._is_mark(call))
        return [value[1] for value in said if value[0] == word]

    def disk(self, cut: int) -> Disk:
        """The disk after so many calls."""
        disk = Disk(self.root, self._before)
        for call in self.calls[:cut]:
            disk.apply(call)
        return disk

    def _is_mark(self, call: Call) -> bool:
        return call.kind == "w" and call.descriptor == self._marks and call.data[-1:] == b"\n"


class Recorder:
    """The process that lives, and the record of its calls."""

    def __init__(self, directory: Path, library: dict[str, str]) -> None:
        self.directory = directory
        self._record = directory / "record"
        self._record.touch()
        self._lives = 0
        environment = {
            **os.environ,
            **library,
            "RECORD_BELOW": f"{directory}/life-",
            "RECORD_TO": str(self._record),
        }
        command = [sys.executable, "-m", "tests.crash.power_life"]
        self._child = subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def live(self, seed: int, known: list[bytes], found: Path | None = None) -> Recording:
        """One life on what was found, or from nothing."""
        self._lives += 1
        root = self.directory / f"life-{self._lives}"
        if found is None:
            root.mkdir()
        else:
            found.rename(root)
        cursor = Cursor.load(root / "uplink" / "normal")
        saved = 1 if cursor is None else cursor.position
        before, begin = tree_of(root), self._record.stat().st_size
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{root} {seed}\n")
        self._child.stdin.flush()
        assert self._child.stdout.readline() == "done\n"
        with self._record.open("rb") as record:
            record.seek(begin)
            recording = Recording(root, seed, known, saved, before, record.read())
        assert recording.said(len(recording), "failed") == []
        return recording

    def empty(self, name: str) -> Path:
        """A place for a directory; what a former case left there is gone."""
        place = self.directory / name
        shutil.rmtree(place, ignore_errors=True)
        return place

    def close(self) -> None:
        self._child.communicate(timeout=20)


@pytest.fixture(scope="module")
def recorder(preload: Preload) -> Iterator[Recorder]:
    library = preload("record_calls.c")
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="busbridge-", dir=memory if os.access(memory, os.W_OK) else None))
    recorder = Recorder(directory, library)
    yield recorder
    recorder.close()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def recordings(recorder: Recorder) -> list[Recording]:
    """Lives from nothing, and lives on what a clean end left."""
    recordings = []
    for seed in range(1, LIVES, 2):
        first = recorder.live(seed, [])
        end = int(first.said(len(first), "committed")[-1])
        left = recorder.directory / "left"
        shutil.copytree(first.root, left)
        spoilt = seed == LIVES - 1
        if spoilt:
            end = spoil(left, seed, end)
        recordings += [first, recorder.live(seed + 1, [payload(seed, seq) for seq in range(1, end)], left)]
        recordings[-1].spoilt = spoilt
    return recordings


def spoil(root: Path, life: int, end: int) -> int:
    """Turns a bit in the newest segment that has good frames behind it; returns where the log ends now."""
    lane = root / "uplink" / "normal"
    committed = threading.Event()
    writer = LogWriter.open(
        lane, SETTINGS, log_id=load_or_create_log_id(root / "uplink"), boot_id=BOOT_ID, wall_ns=lambda: 0, fold=Chain(),
        on_commit=lambda _tokens, _committed: committed.set(), on_failure=lambda failure: pytest.fail(str(failure)),
        keys=KEYS,
    )  # fmt: skip
    first, at, behind = lane, 0, 0
    while behind < 3:
        committed.clear()
        body = payload(life, end)
        writer.append(message(body), effect=body)
        writer.kick()
        assert committed.wait(20)
        newest, end = max(lane.glob("*.seg")), end + 1
        behind += 1
        if newest != first:
            first, at, behind = newest, newest.read_bytes().index(body) + len(body) // 2, 0
    writer.close()
    content = bytearray(first.read_bytes())
    content[at] ^= 1
    first.write_bytes(content)
    return end


def check(found: Path, recording: Recording, cut: int) -> list[bytes]:
    """Recovers what the power cut left and holds it to the oracle; returns the payloads of all records there are."""
    first = len(recording.known) + 1
    acknowledged = max(first, *map(int, recording.said(cut, "committed")), 0)
    given = max(first, *map(int, recording.said(cut, "given")), 0)
    log_id = load_or_create_log_id(found / "uplink")
    lane = found / "uplink" / "normal"
    lane.mkdir(exist_ok=True)
    fold = Chain()
    recovered = recover(lane, log_id, fold, KEYS)
    if recovered.tail is not None:
        recovered.tail.close()
    assert acknowledged <= recovered.next_seq <= given
    expected = recording.known + [payload(recording.life, seq) for seq in range(first, recovered.next_seq)]
    assert acknowledged == 1 or recording.said(cut, "log") in ([], [log_id.hex()])
    position = check_cursor(lane, log_id, recording, cut)
    known = len(recording.known) if recording.spoilt else 0
    assert all(expected[seq - 1] == body for seq, body in forward(lane, log_id, position, recovered.next_seq, known))
    if recording.spoilt:
        return expected
    whole = Chain()
    for each in expected:
        whole.apply(each)
    assert (fold.count, fold.sum) == (whole.count, whole.sum)
    return expected


def forward(lane: Path, log_id: bytes, position: int, committed: int, spoilt: int) -> Iterator[tuple[int, bytes]]:
    """What the forwarder gets from `position` on: each number as a record, or within the file of a gap.

    Or as damage, where it is not above `spoilt`.
    """
    reader = LogReader(lane, log_id, position, KEYS)
    while reader.position < committed:
        before = reader.position
        try:
            records = reader.read(committed, 1 << 30, 1 << 30)
        except LogDamaged as damage:
            gone = dropped_at(lane, before, KEYS)
            if gone is None and before <= spoilt:
                assert max(range(*reader.skip_damage(committed))) <= spoilt
                continue
            if gone is None:
                pytest.fail(f"neither there nor dropped: {damage}")
            assert before < gone.next_seq <= committed
            assert sum(stream.count for stream in gone.streams) >= gone.next_seq - before
            reader.close()
            reader = LogReader(lane, log_id, gone.next_seq, KEYS)
            continue
        assert [each.seq for each in records] == list(range(before, before + len(records)))
        yield from ((each.seq, each.payload) for each in records)
    reader.close()


def check_cursor(lane: Path, log_id: bytes, recording: Recording, cut: int) -> int:
    """The position that the reading side goes on from: never before what was saved, never one that was not."""
    cursor = Cursor.load(lane)
    position = 1 if cursor is None else cursor.position
    saved = [recording.saved, *map(int, recording.said(cut, "saved"))]
    saving = [recording.saved, *map(int, recording.said(cut, "saving"))]
    assert saved[-1] <= position <= saving[-1]
    assert cursor is None or cursor.log_id == log_id
    return position


def test_the_record_misses_nothing(recordings):
    for recording in recordings:
        there = {path: path.read_bytes() for path in recording.root.rglob("*") if path.is_file()}
        assert recording.disk(len(recording)).contents() == there
    kinds = {call.kind for recording in recordings for call in recording.calls}
    assert kinds >= set("owsrud")
    renamed = [call.paths for recording in recordings for call in recording.calls if call.kind == "r"]
    assert any(source.suffix == ".seg" for source, _ in renamed), "no segment was recycled"
    assert any(target.suffix == ".gap" for _, target in renamed), "nothing was dropped"
    removed = [call.paths[0] for recording in recordings for call in recording.calls if call.kind == "u"]
    assert {".seg", ".gap"} <= {path.suffix for path in removed}
    opened = [call.paths[0] for recording in recordings for call in recording.calls if call.kind == "o"]
    assert any(path.parent.name == "quarantine" for path in opened), "nothing was put into quarantine"
    assert sum(map(len, recordings)) > 1500


def test_a_disk_that_keeps_nothing_unsynced_and_one_that_keeps_all(recordings, tmp_path):
    recording = recordings[0]
    disk = recording.disk(len(recording))
    disk.cut(tmp_path / "all", Random(0), 1.0)
    kept = {path.relative_to(tmp_path / "all"): path.read_bytes() for path in (tmp_path / "all").rglob("*.seg")}
    assert kept
    contents = {path.relative_to(recording.root): content for path, content in disk.contents().items()}
    assert kept.items() <= contents.items()
    recording.disk(2).cut(tmp_path / "nothing", Random(0), 0.0)
    assert list((tmp_path / "nothing").rglob("*")) == []


@settings(max_examples=2500 * EFFORT, deadline=None)
@given(st.data(), st.randoms(use_true_random=True), KEPT)
def test_everything_acknowledged_survives_a_power_cut(recorder, recordings, data, random, kept):
    recording = data.draw(st.sampled_from(recordings))
    cut = data.draw(st.integers(0, len(recording)))
    found = recorder.empty("found")
    recording.disk(cut).cut(found, random, kept)
    check(found, recording, cut)


@settings(max_examples=60 * EFFORT, deadline=None)
@given(st.integers(100, 1 << 30), st.lists(st.tuples(st.floats(0, 1), KEPT), min_size=2, max_size=4))
def test_several_power_cuts_in_a_row(recorder, seed, cuts):
    """Each life begins with what the last cut left, so the cuts hit recovery too."""
    recording = recorder.live(seed, [])
    for number, (where, kept) in enumerate(cuts, 1):
        cut = round(where * len(recording))
        disk = recording.disk(cut)
        found, copy = recorder.empty("found"), recorder.empty("copy")
        disk.cut(found, Random(seed + number), kept)
        shutil.copytree(found, copy)
        known = check(copy, recording, cut)
        shutil.rmtree(recording.root)
        recording = recorder.live(seed + number, known, found)
        assert recording.said(len(recording), "began") == [str(len(known) + 1)]
    shutil.rmtree(recording.root)
