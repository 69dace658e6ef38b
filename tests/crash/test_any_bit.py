"""Any bit turned in any file of the log: it starts, what is read is what was written, and what is not is told of.

The oracle is the list of what was appended. Turned bits may take records, whole segments at the worst; they never make
one that was not written, never take one without a word, and never keep the log from going on.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.log.cursor import Cursor
from bridge.log.dropped import Dropped, dropped_at
from bridge.log.errors import LogDamaged, LogTooNew
from bridge.log.log_id import load_or_create_log_id
from bridge.log.reader import LogReader
from bridge.log.segment import PAGE_BYTES
from tests.support.effort import EFFORT
from tests.unit.log.lane import KIB, LOG_ID, SMALL, Lane

DROPPING = msgspec.structs.replace(SMALL, max_bytes=256 * KIB, drop_oldest=True)
FORWARDED = 60


class Site(NamedTuple):
    """A log with a cursor and files of gaps, as it was left; not to be changed."""

    root: Path
    payloads: list[bytes]
    """Of all records that were ever appended."""

    @property
    def lane(self) -> Path:
        return self.root / "normal"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    root = tmp_path_factory.mktemp("site") / "uplink"
    (root / "normal").mkdir(parents=True)
    (root / "LOG").write_text(LOG_ID.hex() + "\n")
    payloads = [b"%d " % number * (1 + number % 700) for number in range(1, 301)]
    lane = Lane(root / "normal", DROPPING)
    for at in range(0, len(payloads), 3):
        lane.commit(*payloads[at : at + 3])
    for position in (FORWARDED - 20, FORWARDED):
        Cursor.save(lane.directory, LOG_ID, position)
    lane.writer.close()
    (root / "LOG").unlink()
    assert load_or_create_log_id(root) == LOG_ID
    assert {path.suffix for path in lane.directory.iterdir()} >= {".seg", ".gap"}
    return Site(root, payloads)


class Found(NamedTuple):
    """What a start on damaged files makes of them."""

    records: dict[int, bytes]
    dropped: list[Dropped]
    lost: set[int]
    next_seq: int


def read_all(directory: Path, log_id: bytes, committed: int) -> tuple[dict[int, bytes], list[Dropped], set[int]]:
    """As the forwarder reads from the beginning: records, what was dropped, what is told as lost."""
    reader = LogReader(directory, log_id, 1)
    records: dict[int, bytes] = {}
    dropped, lost = [], set()
    while reader.position < committed:
        try:
            records |= {each.seq: each.payload for each in reader.read(committed, 1 << 20, 1 << 30)}
        except LogDamaged:
            gone = dropped_at(directory, reader.position)
            if gone is not None:
                dropped.append(gone)
                reader.close()
                reader = LogReader(directory, log_id, gone.next_seq)
            else:
                lost |= set(range(*reader.skip_damage(committed)))
    reader.close()
    return records, dropped, lost


def start(root: Path) -> Found:
    """A whole start, one more record, and all that a reader finds."""
    log_id = load_or_create_log_id(root)
    assert log_id == LOG_ID
    lane = Lane(root / "normal", DROPPING)
    next_seq = lane.writer.next_seq
    lane.commit(b"goes on")
    records, dropped, lost = read_all(lane.directory, log_id, lane.writer.committed)
    assert not lane.failures
    lane.writer.close()
    assert records.pop(next_seq) == b"goes on"
    return Found(records, dropped, lost, next_seq)


def spoilt(site: Site, where: Path, name: str, at: int, bit: int) -> Path:
    """A copy in which this bit is turned."""
    root = where / "uplink"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(site.root, root)
    path = root / name
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << bit
    path.write_bytes(content)
    return root


def files(site: Site) -> list[str]:
    """All of the log's own, by path below it."""
    return sorted(str(path.relative_to(site.root)) for path in site.root.rglob("*") if path.is_file())


def kinds(site: Site, suffix: str) -> list[str]:
    return [name for name in files(site) if name.endswith(suffix)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    logging.disable()  # thousands of starts say thousands of lines
    yield tmp_path_factory.mktemp("spoilt")
    logging.disable(logging.NOTSET)


def check(site: Site, root: Path, name: str, at: int) -> None:
    """The oracle."""
    whole = len(site.payloads)
    try:
        found = start(root)
    except LogTooNew:
        assert name.endswith(".seg"), "only a header can say so"
        pytest.fail("a turned bit passed for a later version")
    assert all(found.records[seq] == site.payloads[seq - 1] for seq in found.records)
    told = {seq for gone in found.dropped for seq in range(gone.first_seq, gone.next_seq)} | found.lost
    assert set(found.records) | told >= set(range(1, min(whole + 1, found.next_seq)))
    assert not set(found.records) & told
    if name.endswith(".seg") and name != kinds(site, ".seg")[-1]:
        assert found.next_seq == whole + 1
    cursor = Cursor.load(root / "normal")
    if name.endswith("cursor"):
        assert cursor in (Cursor(LOG_ID, FORWARDED), Cursor(LOG_ID, FORWARDED - 20), None)
    else:
        assert cursor == Cursor(LOG_ID, FORWARDED)


@settings(max_examples=150 * EFFORT, deadline=None)
@given(data=st.data(), at=st.integers(0, 1 << 20), bit=st.integers(0, 7))
def test_in_any_file(site: Site, place: Path, data: st.DataObject, at: int, bit: int) -> None:
    name = data.draw(st.sampled_from(files(site)))
    check(site, spoilt(site, place, name, at, bit), name, at)


@settings(max_examples=80 * EFFORT, deadline=None)
@example(at=8, bit=0, newest=True)
@example(at=8, bit=1, newest=False)
@given(at=st.integers(0, 68), bit=st.integers(0, 7), newest=st.booleans())
def test_in_the_header_of_a_segment(site: Site, place: Path, at: int, bit: int, newest: bool) -> None:
    name = kinds(site, ".seg")[-1 if newest else 0]
    check(site, spoilt(site, place, name, at, bit), name, at)


@settings(max_examples=80 * EFFORT, deadline=None)
@given(at=st.integers(PAGE_BYTES, 2 * PAGE_BYTES), bit=st.integers(0, 7), newest=st.booleans())
def test_in_the_first_frames_of_a_segment(site: Site, place: Path, at: int, bit: int, newest: bool) -> None:
    name = kinds(site, ".seg")[-1 if newest else 0]
    check(site, spoilt(site, place, name, at, bit), name, at)


def test_anywhere_in_the_name_of_the_log(site: Site, place: Path) -> None:
    """A wrong id would make another log's of every segment."""
    size = (site.root / "LOG").stat().st_size
    for at in range(size):
        for bit in range(8):
            root = spoilt(site, place, "LOG", at, bit)
            assert load_or_create_log_id(root) == LOG_ID, (at, bit)
            assert (root / "LOG").read_bytes() == (site.root / "LOG").read_bytes() or at >= size - 1


@settings(max_examples=100 * EFFORT, deadline=None)
@given(at=st.integers(0, 1 << 12), bit=st.integers(0, 7))
def test_in_the_file_of_a_gap(site: Site, place: Path, at: int, bit: int) -> None:
    for name in kinds(site, ".gap")[:2]:
        root = spoilt(site, place, name, at, bit)
        found, was = Dropped.load(root / name), Dropped.load(site.root / name)
        assert found is None or found == was, "a hexadecimal digit may be large or small"
        check(site, root, name, at)
