"""A queue belongs to one gateway; who finds another's name in it asks a person."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bridge.durable import replace_file
from bridge.log.owner import NAME, ForeignLog, claim


def machine(directory: Path, text: str) -> Path:
    """A file as /etc/machine-id."""
    path = directory / f"machine-{text}"
    path.write_text(f"{text * 32}\n")
    return path


def test_it_is_written_down_once_and_its_own_gateway_may_always_come_back(tmp_path: Path) -> None:
    for _ in range(3):
        claim(tmp_path / "uplink", "gw-1", None)
    assert (tmp_path / "uplink" / NAME).read_text().splitlines()[0] == "gw-1"


def test_another_gateway_is_refused_in_one_sentence_that_says_what_to_decide(tmp_path: Path) -> None:
    claim(tmp_path, "gw-1", None)
    before = (tmp_path / NAME).read_bytes()
    for renamed_from in (None, "gw-7"):
        with pytest.raises(ForeignLog) as refused:
            claim(tmp_path, "gw-2", renamed_from)
        assert 'gateway.renamed_from = "gw-1"' in str(refused.value)
        assert "data_dir of its own" in str(refused.value)
        assert "\n" not in str(refused.value)
    assert (tmp_path / NAME).read_bytes() == before


def test_a_renamed_gateway_goes_on_and_the_old_name_is_refused_then(tmp_path: Path) -> None:
    claim(tmp_path, "gw-1", None)
    claim(tmp_path, "gw-2", "gw-1")
    claim(tmp_path, "gw-2", None)
    with pytest.raises(ForeignLog):
        claim(tmp_path, "gw-1", None)


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"\n\n"])
def test_a_queue_from_before_and_a_garbled_name_are_taken_over(tmp_path: Path, content: bytes) -> None:
    replace_file(tmp_path / NAME, content)
    claim(tmp_path, "gw-1", None)
    assert (tmp_path / NAME).read_text().splitlines()[0] == "gw-1"


def test_another_machine_is_a_warning_once_and_its_id_is_not_in_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    claim(tmp_path, "gw-1", None, machine(tmp_path, "a"))
    claim(tmp_path, "gw-1", None, tmp_path / "no machine id")
    assert not caplog.records
    for _ in range(2):
        claim(tmp_path, "gw-1", None, machine(tmp_path, "b"))
    assert [record.getMessage().count("another machine") for record in caplog.records] == [1]
    assert "bbbb" not in (tmp_path / NAME).read_text()
