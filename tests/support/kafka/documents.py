"""A reader of the state topic who knows nothing else: what he believes, and whether he was ever told something old."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.interop.gateway import wait_until

Documents = dict[str, dict[str, Any]]
_PATIENCE_S = 40.0


def now() -> str:
    """As documents write it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def believed(documents: Documents, device: str) -> str:
    """The rule of docs/device-state.md, with clocks that do not differ."""
    presence = documents[device]["presence"]
    if presence["state"] != "online":
        return str(presence["state"])
    gateway = documents.get(f"gateway/{presence['gateway']}")
    if gateway is None or gateway["epoch"] != presence["gateway_epoch"]:
        return "unknown"
    return "online" if max(gateway["lease_until"], presence["lease_until"]) > now() else "unknown"


def order(document: dict[str, Any]) -> tuple[Any, ...]:
    """Newer documents are greater: the later connection, and of one connection what its own gateway said last."""
    presence = document["presence"] or {"connected": "", "gateway": "", "gateway_epoch": 0, "state": ""}
    rank = {"unknown": 0, "": 0, "online": 1, "offline": 2}[presence["state"]]
    return (presence["connected"], presence["gateway"], presence["gateway_epoch"], rank)


class Topic:
    """One state topic; `read` gives every record of a topic, partition by partition."""

    def __init__(self, name: str, read: Callable[[str], list[Any]]) -> None:
        self.name = name
        self._read = read

    def latest(self) -> Documents:
        """As after compaction."""
        documents: Documents = {}
        for record in self._read(self.name):
            key = record.key().decode()
            if record.value() is None:
                documents.pop(key, None)
            else:
                documents[key] = json.loads(record.value())
        return documents

    def wait(self, condition: Callable[[Documents], object]) -> Documents:
        """Until it holds of what the topic has."""
        found: list[Documents] = [{}]

        def holds() -> bool:
            found[0] = self.latest()
            try:
                return bool(condition(found[0]))
            except (KeyError, TypeError):
                return False  # not there yet

        wait_until(holds, f"the documents agree: {self.name}", _PATIENCE_S)
        return found[0]

    def superseded(self) -> list[dict[str, Any]]:
        """The events that keep what was reported in vain."""
        events = [json.loads(record.value()) for record in self._read(f"{self.name}-events")]
        return [event for event in events if event["type"] == "document-superseded"]

    def count(self) -> int:
        """Records that Kafka still has."""
        return len(self._read(self.name))

    def replaced(self) -> list[str]:
        """See the function."""
        return replaced(self._read(self.name))


def replaced(records: Sequence[Any]) -> list[str]:
    """Where a record is older than one before it with its key, in words; a tombstone begins anew."""
    before: Documents = {}
    found: list[str] = []
    for record in records:
        key = record.key().decode()
        if record.value() is None:
            before.pop(key, None)
            continue
        document = json.loads(record.value())
        found += _older(key, before.get(key), document)
        before[key] = document
    return found


def _older(key: str, before: dict[str, Any] | None, document: dict[str, Any]) -> list[str]:
    if before is None:
        return []
    if "device" not in document:
        old, new = ((each["epoch"], each["at"]) for each in (before, document))
        return [f"{key}: {old} was replaced by {new}"] if new < old else []
    found = []
    # (`unknown`, nobody's word, is about the same connection; it and what its gateway says of that come in any order.)
    parts = 2 if document["presence"] and document["presence"]["state"] == "unknown" else None
    if order(document)[:parts] < order(before)[:parts]:
        found.append(f"{key}: {order(before)} was replaced by {order(document)}")
    for half in ("reported", "desired"):
        old, new = ((each[half] or {"version": 0})["version"] for each in (before, document))
        if new < old:
            found.append(f"{key}: {half} {old} of {order(before)} was replaced by {new} of {order(document)}")
    return found
