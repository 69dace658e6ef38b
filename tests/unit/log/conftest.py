"""Logs in a directory of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.log.lane import Lane


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    """A log with segments of 64 KiB, at most 512 KiB of them."""
    lane = Lane(tmp_path / "lane")
    yield lane
    lane.writer.close()
