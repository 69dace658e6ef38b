"""Tallies: how many devices of a command to a group have come to which end. Exact through kills.

A tally says up to which record of the state lane it counts. It is stored in one commit with the outcome that it counts
last, and at start what the log has beyond that is counted from there: never twice, and none is left out.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from bridge.device_side.cold import Changes, ColdStore
from bridge.groups import GROUPS

SEPARATOR = "\0"
"""Between device, or group, and id in a key: neither holds it."""
Key = tuple[str, str]
"""Device (or `group/NAME`) and `Order.key`."""


class Tally(msgspec.Struct):
    """Of one command to a group."""

    log: str
    position: int
    """Outcomes in records of that log before it are in the counts."""
    counts: dict[str, int]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Tally).decode


class Tallies:
    """Command to a group → its tally."""

    def __init__(self, cold: ColdStore, log_id: bytes) -> None:
        """Args:
        cold: where they are kept.
        log_id: of the uplink log.
        """
        self._cold = cold
        self._log = log_id.hex()
        self._tallies = {key_of_row(row): _decode(value) for row, value in cold.load("tallies")}

    def counts(self, key: Key) -> dict[str, int]:
        """Devices by outcome."""
        tally = self._tallies.get(key)
        return dict(tally.counts) if tally is not None else {}

    def count(self, group: str, command_id: str, word: str, position: int) -> Changes:
        """One more; what is to be stored together with the outcome whose record ends at `position`."""
        key = (f"{GROUPS}{group}", command_id)
        tally = self._tallies.setdefault(key, Tally(self._log, 0, {}))
        if tally.log != self._log:
            tally.log, tally.position = self._log, 0
        if position > tally.position:
            tally.position = position
            tally.counts[word] = tally.counts.get(word, 0) + 1
        return {("tallies", row_of_key(key)): _encode(tally)}

    def drop(self, key: Key) -> Changes:
        """It is not needed any more."""
        self._tallies.pop(key, None)
        return {("tallies", row_of_key(key)): None}

    def keep_only(self, keys: Collection[Key]) -> None:
        """At start: all others go."""
        for key in [key for key in self._tallies if key not in keys]:
            self._cold.put_all(self.drop(key))


def row_of_key(key: Key) -> str:
    """As the store's tables have it."""
    return SEPARATOR.join(key)


def key_of_row(row: str) -> Key:
    """The other way round."""
    device, _, name = row.partition(SEPARATOR)
    return device, name
