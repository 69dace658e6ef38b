"""The cold store: what was put is there after a restart, in the order it was put, or somebody is told."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.device_side.cold import ColdStore, ColdStoreFailure
from tests.unit.device_side.conftest import OpenStore, unexpected

PATIENCE_S = 10.0


def test_a_restart_finds_what_was_put_and_not_what_was_removed(open_store: OpenStore) -> None:
    store = open_store()
    store.put("documents", "dev-1", b"\x00old")
    store.put("documents", "dev-1", b"\x00new")
    store.put("documents", "dev-2", b"gone")
    store.put("sessions", "dev-1", b"another table")
    store.put("documents", "dev-2", None)
    store.close()
    again = open_store()
    assert list(again.load("documents")) == [("dev-1", b"\x00new")]
    assert list(again.load("sessions")) == [("dev-1", b"another table")]
    assert again.get("documents", "dev-1") == b"\x00new"
    assert again.get("documents", "dev-2") is None


def test_what_is_written_at_once_is_there_for_another_reader_before_anything_else_happens(
    open_store: OpenStore, tmp_path: Path
) -> None:
    open_store().write("meta", "epoch", b"7")
    assert ColdStore(tmp_path / "cold.sqlite", unexpected).get("meta", "epoch") == b"7"


def test_after_commit_comes_when_another_reader_sees_what_was_put_before(open_store: OpenStore, tmp_path: Path) -> None:
    store, seen = open_store(), list[bytes | None]()
    called = threading.Event()
    reader = ColdStore(tmp_path / "cold.sqlite", unexpected)

    def look() -> None:
        seen.append(reader.get("meta", "n"))
        if len(seen) == 20:
            called.set()

    for number in range(20):
        store.put("meta", "n", b"%d" % number)
        store.after_commit(look)
    assert called.wait(PATIENCE_S)
    reader.close()
    assert all(value is not None and int(value) >= number for number, value in enumerate(seen))


def test_where_nothing_waits_for_the_disk_nobody_waits(open_store: OpenStore) -> None:
    store, called = open_store(), list[str]()
    store.after_commit(lambda: called.append("at once"))
    assert called == ["at once"]


def test_callbacks_come_in_order_and_before_close_returns(open_store: OpenStore) -> None:
    store, called = open_store(), list[int]()
    for number in range(50):
        store.after_commit(lambda number=number: called.append(number))
    store.close()
    assert called == list(range(50))


@pytest.mark.parametrize("content", [b"not a database, but long enough to be taken for the header of one" * 4])
def test_a_file_that_is_not_a_database_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cold.sqlite"
    path.write_bytes(content)
    with pytest.raises(ColdStoreFailure, match=r"cold\.sqlite: file is not a database"):
        ColdStore(path, unexpected)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ColdStoreFailure, match=r"nowhere/cold\.sqlite: unable to open"):
        ColdStore(tmp_path / "nowhere" / "cold.sqlite", unexpected)


def test_pages_that_are_garbled_are_a_failure_of_the_store_not_of_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "cold.sqlite"
    store = ColdStore(path, unexpected)
    for number in range(500):
        store.put("documents", f"dev-{number}", bytes(1000))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = b"\xa5" * (len(content) - 4096 * 3)
    path.write_bytes(content)
    damaged = ColdStore(path, unexpected)
    with pytest.raises(ColdStoreFailure, match="malformed"):
        list(damaged.load("documents"))
    with pytest.raises(ColdStoreFailure, match="malformed"):
        damaged.get("documents", "dev-250")
    damaged.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if os.geteuid():
        pytest.skip("only root can mount a file system")
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", where], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode().strip()}")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


def test_a_full_disk_is_told_once_and_what_waited_for_it_is_never_called(tiny_disk: Path) -> None:
    failures, told, called = list[ColdStoreFailure](), threading.Event(), list[str]()

    def tell(failure: ColdStoreFailure) -> None:
        failures.append(failure)
        told.set()

    store = ColdStore(tiny_disk / "cold.sqlite", tell)
    store.put("retained", "t", bytes(1 << 20))
    store.after_commit(lambda: called.append("committed"))
    assert told.wait(PATIENCE_S)
    store.put("retained", "u", b"later")
    store.close()
    assert [str(failure) for failure in failures] == [f"{tiny_disk}/cold.sqlite: database or disk is full"]
    assert called == []


def test_a_full_disk_at_the_start_is_the_writer_s_to_hear(tiny_disk: Path) -> None:
    store = ColdStore(tiny_disk / "cold.sqlite", unexpected)
    with pytest.raises(ColdStoreFailure, match="full"):
        store.write("meta", "epoch", bytes(1 << 20))
    store.close()
