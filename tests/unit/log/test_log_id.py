"""The log's id is made once and survives the loss of its file."""

from __future__ import annotations

from pathlib import Path

import pytest
from crc32c import crc32c

from bridge.log.log_id import load_log_id, load_or_create_log_id
from tests.unit.log.lane import LOG_ID, Lane


def test_it_is_made_once(tmp_path: Path) -> None:
    directory = tmp_path / "uplink"
    made = load_or_create_log_id(directory)
    assert len(made) == 16
    assert load_or_create_log_id(directory) == made == load_log_id(directory)
    assert (directory / "LOG").read_text() == f"{made.hex()} {crc32c(made):08x}\n"
    (directory / "LOG").write_text(made.hex() + "\n")
    assert load_log_id(directory) == made, "as early versions wrote it"
    assert load_or_create_log_id(tmp_path / "downlink") != made


@pytest.mark.parametrize("content", [None, b"", b"rubbish\n", b"\xff\xfe", b"00ff\n"])
@pytest.mark.parametrize("lane", [".", "normal"])
def test_where_the_file_is_lost_it_is_that_of_the_segments(tmp_path: Path, lane: str, content: bytes | None) -> None:
    log = Lane(tmp_path / lane)
    log.commit(b"x")
    log.writer.close()
    if content is not None:
        (tmp_path / "LOG").write_bytes(content)
    assert load_or_create_log_id(tmp_path) == LOG_ID
