"""Device documents held against devices' truths."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from firmware_sim.arrival import Arrival
from firmware_sim.document_audit import hold_documents, latest_documents
from firmware_sim.findings import Findings
from firmware_sim.ledger import Ledger, Truth

GOOD: dict[str, Any] = {
    "device": "dev-1",
    "presence": {"state": "online"},
    "reported": {"version": 3, "state": {"a": 1}},
    "desired": {"version": 4, "at": "…", "state": {"b": 2}},
}
TRUTH = Truth("dev-1", True, {"a": 1}, True, {"version": 4, "state": {"b": 2}})


def _wrong(truth: Truth, document: dict[str, Any] | None) -> list[str]:
    found = Findings()
    hold_documents(Ledger(truths={"dev-1": truth}), {} if document is None else {"dev-1": document}, found)
    assert found.documents == 1
    return found.documents_wrong.examples


def test_a_document_that_agrees() -> None:
    assert _wrong(TRUTH, GOOD) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"presence": {"state": "offline"}}, "is online"),
        ({"presence": None}, "is online"),
        ({"reported": {"version": 3, "state": {"a": 2}}}, "reported"),
        ({"desired": {"version": 5, "state": {"b": 2}}}, "was told"),
        ({"desired": None}, "was told"),
    ],
)
def test_a_document_that_disagrees(change: dict[str, Any], says: str) -> None:
    assert says in " ".join(_wrong(TRUTH, {**GOOD, **change}))


def test_no_document() -> None:
    assert _wrong(TRUTH, None) == ["dev-1: has no document"]


def test_reports_still_under_way_are_not_held_against_it() -> None:
    assert _wrong(Truth("dev-1", True, {"a": 9}, False), GOOD) == []


def test_the_last_value_of_a_key_counts_and_a_tombstone_removes() -> None:
    def arrival(key: str, document: dict[str, Any] | None) -> Arrival:
        value = None if document is None else msgspec.json.encode(document)
        return Arrival("device-state", key, value, {}, "")

    arrivals = [arrival("a", {"n": 1}), arrival("b", {"n": 2}), arrival("a", {"n": 3}), arrival("b", None)]
    assert latest_documents(arrivals) == {"a": {"n": 3}}
