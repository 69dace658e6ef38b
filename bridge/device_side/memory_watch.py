"""The total bound on what connections hold in memory, whatever each of them may hold alone.

Looked at once a second. Beyond `limits.memory` connections end, the one that holds the most first: nothing that was
acknowledged is in them, and a client that was honest comes back. Queues of sessions have a bound of their own
(`limits.session_queues_bytes`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from bridge.mqtt.reasons import Reason

if TYPE_CHECKING:
    from bridge.device_side.connection import Connection

_log = logging.getLogger(__name__)


class MemoryWatch:
    """Over all connections."""

    def __init__(self, most: int, connections: Collection[Connection]) -> None:
        """`most`: `limits.memory`, bytes; `connections`: the collection that grows and shrinks."""
        self.held = 0
        """Bytes, when it was looked last."""
        self.ended = 0
        """Connections, since the start."""
        self._most = most
        self._connections = connections

    def look(self) -> None:
        """Adds up what is held; where that is too much, ends connections until an eighth of the bound is free."""
        self.held = sum(connection.held_bytes for connection in self._connections)
        if self.held > self._most:
            self._relieve(self.held - self._most * 7 // 8)

    def _relieve(self, wanted: int) -> None:
        given, ended = 0, 0
        for connection in sorted(self._connections, key=lambda each: each.held_bytes, reverse=True):
            if given >= wanted:
                break
            given, ended = given + connection.held_bytes, ended + 1
            connection.dismiss(Reason.QUOTA_EXCEEDED)
            connection.end()
        self.ended += ended
        _log.warning("ended %d connections that held %d bytes: limits.memory is reached", ended, given)
