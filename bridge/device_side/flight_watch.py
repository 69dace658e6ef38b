"""The total bound on messages in flight: sent to clients, and kept to be sent again until they are acknowledged.

A client that reads and never acknowledges has a window full of large messages, and a session that waits for it keeps
them for days. Looked at once a second: where they are too much together, the sessions that hold the most let go of
theirs. It costs such a client what its connection loses, and nobody else anything.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.device_side.broker import Client

_log = logging.getLogger(__name__)


class FlightWatch:
    """Over all sessions."""

    def __init__(self, most: int, clients: Mapping[str, Client]) -> None:
        """`most`: `limits.inflight_bytes`; `clients`: the mapping that grows and shrinks."""
        self._most = most
        self._clients = clients

    def look(self) -> None:
        """Adds up what is in flight; where that is too much, has it forgotten until an eighth of the bound is free."""
        if sum(client.state.flight_bytes for client in self._clients.values()) > self._most:
            self._count_well()

    def _count_well(self) -> None:
        """One message that is on its way to many is in memory once."""
        items = [item for client in self._clients.values() for item in client.state.in_flight.values()]
        held = sum({id(item.message): item.size for item in items}.values())
        if held > self._most:
            self._relieve(held - self._most * 7 // 8, Counter(id(item.message) for item in items))

    def _relieve(self, wanted: int, holders: Counter[int]) -> None:
        """`holders`: how many sessions have a message in flight, by its id."""
        given, sessions = 0, 0
        for client in sorted(self._clients.values(), key=lambda each: each.state.flight_bytes, reverse=True):
            if given >= wanted:
                break
            sessions += 1
            for item in list(client.state.in_flight.values()):
                if item.watcher is not None or item.forgotten:
                    continue  # a command has bounds of its own, and somebody who waits for what becomes of it
                holders[id(item.message)] -= 1
                given += item.size if not holders[id(item.message)] else 0
                client.state.forget(item)
        _log.warning("forgot %d bytes in flight to %d clients: limits.inflight_bytes is reached", given, sessions)
