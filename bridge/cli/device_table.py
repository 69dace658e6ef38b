"""Devices as a table: its columns, a row's cells, and what it comes to. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bridge.belief import Belief, Presence
from bridge.cli.output import table_lines
from bridge.row import Half, Row

Listed = tuple[str, Row, Belief]
_COLUMNS = ("device", "state", "since", "gateway", "protocol", "reported", "desired", "delta")


def device_lines(found: Sequence[Listed]) -> Iterator[str]:
    """Yield the table's lines; labels have a column where there are any."""
    labels = any(row.labels for _, row, _ in found)
    columns = (*_COLUMNS, "labels") if labels else _COLUMNS
    return table_lines(columns, [_cells(*each)[: len(columns)] for each in found])


def summary(found: Iterable[Listed]) -> str:
    """How many there are, in one line."""
    states: Counter[str] = Counter()
    gateways: set[str] = set()
    for _, row, belief in found:
        states[belief.state] += 1
        gateways.add(row.gateway)
    words = ", ".join(f"{states[state]} {state}" for state in ("online", "offline", "unknown") if states[state])
    return f"{states.total()} devices: {words}; {len(gateways - {''})} gateways" if states else "no devices"


def _cells(device: str, row: Row, belief: Belief) -> tuple[str, ...]:
    presence = row.presence or Presence()
    return (
        device,
        belief.state,
        belief.since,
        presence.gateway,
        presence.protocol or "",
        _version(row.reported),
        _version(row.desired),
        "pending" if row.delta else "",
        " ".join(f"{key}={value}" for key, value in sorted(row.labels.items())),
    )


def _version(half: Half | None) -> str:
    return str(half.version) if half is not None else ""
