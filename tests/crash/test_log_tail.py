"""What a power failure leaves of the last segment: cut anywhere, bits turned, sectors missing in any combination.

What recovery gives back is exactly the records of whole frames, never one that was not written, and what is written
next is not disturbed by what was cut.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.log.errors import LogDamaged
from bridge.log.fold import NoFold
from bridge.log.queue_key import KEY_BYTES, Keyring, QueueKey
from bridge.log.reader import LogReader
from bridge.log.recovery import Recovery, recover
from bridge.log.segment import PAGE_BYTES
from tests.support.effort import EFFORT
from tests.unit.log.lane import LOG_ID, SMALL, Lane, read_all

FRAMES = [[b"first"], [b"two", b"records"], [b"the frame before the last " * 4], [b"the last", b"frame " * 9]]
SECTOR = 512
KEY = QueueKey(bytes(KEY_BYTES))


class Image:
    """A segment file as it was after each commit."""

    def __init__(
        self, directory: Path, frames: list[list[bytes]], recycled: bool = False, key: QueueKey | None = None
    ) -> None:
        self.keys = Keyring(key)
        lane = Lane(directory, keys=self.keys)
        if recycled:  # its pages are then full of the records of an earlier life
            self._write_segments(lane, 5)
            lane.writer.forwarded(lane.writer.committed)
            lane.wait(lambda: len(lane.segments()) == 1)
            self._write_segments(lane, 4)
            assert b"earlier" in lane.segments()[-1].read_bytes()[2 * PAGE_BYTES :]
        else:
            lane.commit(b"opens the segment")
        self.path = lane.segments()[-1]
        self.first_seq = int(self.path.stem)
        self.states = [(self.path.read_bytes(), lane.payloads(self.first_seq))]
        for frame in frames:
            lane.commit(*frame)
            self.states.append((self.path.read_bytes(), lane.payloads(self.first_seq)))
        lane.writer.close()

    @staticmethod
    def _write_segments(lane: Lane, count: int) -> None:
        while len(lane.segments()) < count:
            lane.commit(*[b"earlier %d " % each * 20 for each in range(9)])

    @property
    def whole(self) -> bytes:
        """The file at the end."""
        return self.states[-1][0]

    def end(self, back: int = 0) -> int:
        """Offset behind the last frame but `back`."""
        data = self.states[-1 - back][0]
        changed = [at for at, byte in enumerate(data) if byte != self.states[-2 - back][0][at]]
        return changed[-1] + 1


@pytest.fixture(scope="module", params=[None, KEY], ids=["plain", "encrypted"])
def image(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Image:
    """Zeros behind the last frame."""
    return Image(tmp_path_factory.mktemp("image"), FRAMES, key=request.param)


@pytest.fixture(scope="module")
def recycled(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Records of an earlier life behind the last frame; the frames are longer than a page."""
    return Image(tmp_path_factory.mktemp("recycled"), [[b"x" * 900] * 4, [b"y" * 700] * 6], recycled=True)


def recovered(directory: Path, image: Image, content: bytes) -> tuple[Recovery, list[bytes]]:
    """What recovery finds where the file has this content."""
    path = directory / image.path.name
    path.write_bytes(content)
    state = recover(directory, LOG_ID, NoFold(), image.keys)
    if state.tail is not None:
        state.tail.close()
    return state, [each.payload for each in read_all(directory, state.next_seq, image.first_seq, image.keys)]


def test_cut_at_every_byte_of_the_last_frames(tmp_path: Path, image: Image) -> None:
    start, end = image.end(back=2), image.end()
    assert end - start > 300
    for cut in range(start, end + 1):
        for content in (image.whole[:cut], image.whole[:cut].ljust(len(image.whole), b"\0")):
            state, payloads = recovered(tmp_path, image, content)
            expected = next(each for data, each in reversed(image.states) if begins_with(content, data))
            assert payloads == expected
            assert state.next_seq == image.first_seq + len(expected)
            if state.tail is None:
                assert len(content) < len(image.whole), "only a file that has lost its length is left as it is"


def begins_with(content: bytes, state: bytes) -> bool:
    """Whether `content` has all that `state` had."""
    used = len(state.rstrip(b"\0"))
    return content[:used] == state[:used]


def test_any_bit_turned_in_the_last_frame_takes_that_frame_and_no_other(tmp_path: Path, image: Image) -> None:
    data, expected = image.states[-2]
    start = -(-len(data.rstrip(b"\0")) // 8) * 8
    for at in range(start, image.end()):
        content = bytearray(image.whole)
        content[at] ^= 1 << at % 8
        state, payloads = recovered(tmp_path, image, bytes(content))
        assert payloads == expected
        assert state.tail is not None
        after = (tmp_path / image.path.name).read_bytes()
        assert after == data, "the torn frame was not cut away"


def test_a_bit_turned_further_up_is_damage_and_the_log_still_starts(tmp_path: Path, image: Image) -> None:
    for at in range(PAGE_BYTES, image.end(back=1), 3):
        content = bytearray(image.whole)
        content[at] ^= 1 << at % 8
        (tmp_path / image.path.name).write_bytes(content)
        state = recover(tmp_path, LOG_ID, NoFold(), image.keys)
        assert state.next_seq == image.first_seq + len(image.states[-1][1])
        read, lost = read_around_damage(tmp_path, image, state.next_seq)
        everything = image.states[-1][1]
        assert len(read) + len(lost) == len(everything)
        assert read == [payload for number, payload in enumerate(everything, image.first_seq) if number not in lost]
        if state.tail is not None:  # the bit was in the padding behind a frame
            state.tail.close()
            assert not lost


def read_around_damage(directory: Path, image: Image, committed: int) -> tuple[list[bytes], set[int]]:
    """The payloads that can be read, and the numbers that cannot."""
    reader = LogReader(directory, LOG_ID, image.first_seq, image.keys)
    read: list[bytes] = []
    lost: set[int] = set()
    while reader.position < committed:
        try:
            read += [each.payload for each in reader.read(committed, 100, 100_000)]
        except LogDamaged:
            lost |= set(range(*reader.skip_damage(committed)))
    reader.close()
    return read, lost


def torn(image: Image, kept: list[bool]) -> bytes:
    """The file of which the last commit's sectors reached the disk or did not."""
    before, after = image.states[-2][0], image.whole
    content = bytearray(before)
    for index, at in enumerate(changed_sectors(image)):
        if kept[index % len(kept)]:
            content[at : at + SECTOR] = after[at : at + SECTOR]
    return bytes(content)


def changed_sectors(image: Image) -> list[int]:
    """Offsets of the sectors that the last commit wrote anew."""
    before, after = image.states[-2][0], image.whole
    return [at for at in range(0, len(after), SECTOR) if before[at : at + SECTOR] != after[at : at + SECTOR]]


@given(kept=st.lists(st.booleans(), min_size=30, max_size=30), sizes=st.lists(st.integers(1, 5_000), max_size=4))
@settings(max_examples=120 * EFFORT, deadline=None)
def test_sectors_missing_in_any_combination(recycled: Image, kept: list[bool], sizes: list[int]) -> None:
    changed = changed_sectors(recycled)
    assert 8 <= len(changed) <= len(kept)
    directory = Path(tempfile.mkdtemp(prefix="log-torn-"))
    complete = all(kept[: len(changed)])
    expected = recycled.states[-1 if complete else -2][1]
    state, payloads = recovered(directory, recycled, torn(recycled, kept))
    assert payloads == expected
    assert state.next_seq == recycled.first_seq + len(expected)
    lane = Lane(directory, SMALL)
    for size in sizes:
        lane.commit((b"%d" % size).zfill(size))
        lane.writer.close()
        lane.open()
        assert lane.payloads(recycled.first_seq)[-1] == (b"%d" % size).zfill(size)
    assert lane.payloads(recycled.first_seq) == expected + [(b"%d" % size).zfill(size) for size in sizes]
    lane.writer.close()
    shutil.rmtree(directory)
