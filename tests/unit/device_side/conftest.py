"""A cold store in a directory of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.device_side.cold import ColdStore, ColdStoreFailure

OpenStore = Callable[[], ColdStore]


def unexpected(failure: ColdStoreFailure) -> None:
    """Fails the thread that has it, and with it the test."""
    raise failure


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[OpenStore]:
    """Opens the store; again after `close` it is a restart."""
    opened: list[ColdStore] = []

    def open_it() -> ColdStore:
        opened.append(ColdStore(tmp_path / "cold.sqlite", unexpected))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def cold(open_store: OpenStore) -> ColdStore:
    """An empty one."""
    return open_store()
