"""Holding device documents, as the compacted topic has them, against what the devices know of themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from firmware_sim.arrival import Arrival
from firmware_sim.findings import Findings
from firmware_sim.ledger import Ledger, Truth

Documents = dict[str, dict[str, Any]]


def latest_documents(arrivals: Iterable[Arrival]) -> Documents:
    """Return the last document of each key, as a reader of a compacted topic would keep them; tombstones remove.

    Raises:
        ValueError: a value is no JSON object.
    """
    documents: Documents = {}
    for arrival in arrivals:
        if arrival.value is None:
            documents.pop(arrival.key, None)
        else:
            documents[arrival.key] = _decode(arrival)
    return documents


def _decode(arrival: Arrival) -> dict[str, Any]:
    try:
        return msgspec.json.decode(arrival.value or b"", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ValueError(f"{arrival.place}: not a device document: {error}") from error


def hold_documents(ledger: Ledger, documents: Documents, found: Findings) -> None:
    """Compare every device's document with its truth; what disagrees is noted in `found`."""
    found.documents = len(ledger.truths)
    for device, truth in ledger.truths.items():
        for disagreement in _disagreements(truth, documents.get(device)):
            found.documents_wrong.note(f"{device}: {disagreement}")


def _disagreements(truth: Truth, document: dict[str, Any] | None) -> list[str]:
    if document is None:
        return ["has no document"]
    wrong = []
    presence = (document.get("presence") or {}).get("state")
    told = "online" if truth.online else "offline"
    if presence != told:
        wrong.append(f"is {told}, the document says {presence}")
    reported = (document.get("reported") or {}).get("state", {})
    if truth.settled and reported != truth.reported:
        wrong.append(f"reported {truth.reported}, the document says {reported}")
    desired = document.get("desired")
    if truth.desired is not None and (desired is None or not _same_desired(truth.desired, desired)):
        wrong.append(f"was told to be {truth.desired}, the document says {desired}")
    return wrong


def _same_desired(received: dict[str, Any], desired: dict[str, Any]) -> bool:
    return all(received.get(part) == desired.get(part) for part in ("version", "state"))
