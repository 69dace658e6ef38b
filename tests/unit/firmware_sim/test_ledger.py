"""Ledgers are append-only files that survive a fleet that was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_sim.ledger import Acknowledged, Head, LedgerWriter, Refused, Resent, Sent, Truth, read_ledger


def _write(path: Path, marker: str) -> None:
    writer = LedgerWriter(path)
    writer.write(Head(marker, "devices/{device}/t", 1))
    writer.write(Sent("dev-1", 1, 1, 10, "d1"))
    writer.write(Sent("dev-1", 2, 2, 20, "d2"))
    writer.write(Resent("dev-1", 1, 30))
    writer.write(Acknowledged("dev-1", 1, 40))
    writer.write(Refused("dev-1", 2, 50, "Quota exceeded"))
    writer.write(Truth("dev-1", True, {"a": 1}, True))
    writer.write(Truth("dev-1", False, {"a": 2}, True, {"version": 3, "state": {}}))
    writer.close()


def test_a_ledger_reads_back(tmp_path: Path) -> None:
    _write(tmp_path / "l", "m")
    ledger = read_ledger([tmp_path / "l"])
    first, second = ledger.entries["dev-1", 1, "m"], ledger.entries["dev-1", 2, "m"]
    assert (first.times_sent, first.acknowledged_at, first.qos) == (2, 40, 1)
    assert (second.times_sent, second.acknowledged_at, second.refused) == (1, None, "Quota exceeded")
    assert ledger.truths["dev-1"].reported == {"a": 2}
    assert ledger.topic(("dev-1", 1, "m")) == "devices/dev-1/t"
    assert ledger.devices() == {"dev-1"}


def test_two_runs_in_one_file_do_not_mix(tmp_path: Path) -> None:
    _write(tmp_path / "l", "one")
    _write(tmp_path / "l", "two")
    assert len(read_ledger([tmp_path / "l"]).entries) == 4


def test_a_last_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    _write(tmp_path / "l", "m")
    whole = (tmp_path / "l").read_bytes()
    (tmp_path / "l").write_bytes(whole[:-20])
    assert read_ledger([tmp_path / "l"]).truths["dev-1"].reported == {"a": 1}


def test_a_garbled_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b'{"what":"sent"\n')
    with pytest.raises(ValueError, match="l:1"):
        read_ledger([tmp_path / "l"])
