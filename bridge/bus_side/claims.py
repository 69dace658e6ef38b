"""Claims: what documents were judged by, so that a sink can tell whether that still held when they came to stand.

Pure. The look at a topic and the write to it are two things, and others may write in between; whose record is the later
one is decided by the log, and only there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

Refuted: TypeAlias = Callable[[bytes | None], bool]
"""Whether a record with this value (None: a tombstone), had it been known, would have decided otherwise."""


class Claims(msgspec.Struct, gc=False):
    """Of a batch's documents in one topic."""

    topic: str
    looked: dict[int, int]
    """By partition, the offset up to which the topic was known; what is behind it nobody has looked at."""
    refuted: dict[bytes, Refuted]
    """By key."""


def any_word(_: bytes | None) -> bool:
    """What refutes a claim that nothing at all was said."""
    return True


class Chunk(msgspec.Struct, gc=False):
    """A batch of records as it stands in the log: committed, aborted, or of a transaction that is still open."""

    producer: int | None
    """Whose transaction it is in; None: in none."""
    ends: bool | None
    """It is a marker that ends that producer's transaction: True by a commit. None: it is none."""
    records: list[tuple[int, bytes, bytes | None]]
    """Offset, key, value."""
    next_offset: int


class GoneError(Exception):
    """A log does not have the offset any more from which it is to be read."""


class Said(msgspec.Struct, gc=False):
    """A record whose key is claimed."""

    offset: int
    value: bytes | None
    aborted: bool = False


class Between:
    """One partition, read as it stands from where it was looked at up to our own records: does what is claimed hold?

    A record of a transaction that is still open counts as if it were committed: whether it will be nobody knows.
    """

    def __init__(self, own: int, looked: int, refuted: Mapping[bytes, Refuted]) -> None:
        """Args:
        own: the producer id of the transaction that has our records, which is open.
        looked: records before this offset were known.
        refuted: by key, for what is claimed.
        """
        self._own = own
        self._looked = looked
        self._refuted = refuted
        self._said: dict[bytes, list[Said]] = {}
        self._open: dict[int, list[Said]] = {}
        """By producer, what it has said in the transaction that no marker has ended."""

    def take(self, chunk: Chunk) -> None:
        """The next batch, in the order of the log."""
        if chunk.producer is not None and chunk.ends is not None:
            for said in self._open.pop(chunk.producer, ()):
                said.aborted = not chunk.ends
            return
        for offset, key, value in chunk.records:
            if offset < self._looked or key not in self._refuted:
                continue
            said = Said(offset, value)
            self._said.setdefault(key, []).append(said)
            if chunk.producer is not None:
                self._open.setdefault(chunk.producer, []).append(said)

    def contested(self) -> int | None:
        """The last offset with a record that refutes one of ours behind it; None: all that is claimed holds."""
        ours = {said.offset for said in self._open.get(self._own, ())}
        return max(
            (
                said.offset
                for key, all_said in self._said.items()
                for said in self._before_ours(all_said, ours)
                if self._refuted[key](said.value)
            ),
            default=None,
        )

    @staticmethod
    def _before_ours(all_said: list[Said], ours: set[int]) -> list[Said]:
        last = max((said.offset for said in all_said if said.offset in ours), default=-1)
        return [said for said in all_said if said.offset < last and said.offset not in ours and not said.aborted]
