"""The cursor: the last saved position, whatever happened to the write after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.log.cursor import NAME, SLOT_BYTES, Cursor

LOG = b"l" * 16


def test_there_is_none_before_it_is_saved(tmp_path: Path) -> None:
    assert Cursor.load(tmp_path) is None


def test_the_last_one_saved_counts(tmp_path: Path) -> None:
    for position in (1, 2, 1000, 3, 2**63):
        Cursor.save(tmp_path, LOG, position)
        assert Cursor.load(tmp_path) == Cursor(LOG, position)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).stat().st_size == 2 * SLOT_BYTES


def test_a_torn_write_leaves_the_one_before(tmp_path: Path) -> None:
    Cursor.save(tmp_path, LOG, 10)
    before = (tmp_path / NAME).read_bytes()
    Cursor.save(tmp_path, LOG, 11)
    after = (tmp_path / NAME).read_bytes()
    changed = [at for at in range(len(after)) if before[at] != after[at]]
    for cut in range(changed[0], changed[-1] + 1):
        (tmp_path / NAME).write_bytes(after[:cut] + before[cut:] if cut < SLOT_BYTES else before[:cut] + after[cut:])
        loaded = Cursor.load(tmp_path)
        assert loaded in (Cursor(LOG, 10), Cursor(LOG, 11))
        mixed = bytearray(before)
        mixed[changed[0] : cut] = after[changed[0] : cut]
        (tmp_path / NAME).write_bytes(mixed)
        assert Cursor.load(tmp_path) == Cursor(LOG, 10)


def test_what_a_torn_write_left_is_written_over_first(tmp_path: Path) -> None:
    for position in (10, 11):
        Cursor.save(tmp_path, LOG, position)
    content = bytearray((tmp_path / NAME).read_bytes())
    newest_at = content.index((11).to_bytes(8, "little"))
    content[newest_at] ^= 1
    (tmp_path / NAME).write_bytes(content)
    assert Cursor.load(tmp_path) == Cursor(LOG, 10)
    Cursor.save(tmp_path, LOG, 12)
    assert Cursor.load(tmp_path) == Cursor(LOG, 12)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\0" * 2 * SLOT_BYTES, b"\xff" * 2 * SLOT_BYTES])
def test_a_garbled_one_is_none_and_can_be_saved_again(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert Cursor.load(tmp_path) is None
    Cursor.save(tmp_path, LOG, 5)
    assert Cursor.load(tmp_path) == Cursor(LOG, 5)


def test_a_position_in_another_log_says_so(tmp_path: Path) -> None:
    Cursor.save(tmp_path, LOG, 5)
    Cursor.save(tmp_path, b"m" * 16, 1)
    assert Cursor.load(tmp_path) == Cursor(b"m" * 16, 1)
