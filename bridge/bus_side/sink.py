"""Sink: where forwarded records go. The interface, and the ways in which a sink can fail.

A sink takes records and the positions behind them as one thing. It does not read the log and does not decide when to
try again: that is the forwarder's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from bridge.bus_side.claims import Claims
from bridge.log.record import Record


class SinkError(Exception):
    """The write did not happen, or nobody knows whether it did: `start` tells. The text is for people."""


class SinkAway(SinkError):
    """The far side does not answer or does not let us in: try again after a while."""


class SinkRefused(SinkAway):
    """The far side answers and cannot do, or does not let us do, what is configured: somebody has to change that."""


class SinkAgain(SinkError):
    """The far side is well, but this write had to be given up: `start` at once and write again (smaller, if told)."""


class SinkContested(SinkAgain):
    """What a batch claims did not hold: nothing was written, and there is no need to `start`. Look, and judge again."""

    def __init__(self, places: dict[int, int]) -> None:
        """`places`: by partition, the offset up to which there is something to be looked at."""
        super().__init__("others wrote about the same devices meanwhile")
        self.places = places


class SinkFenced(SinkError):
    """Another gateway has our id: every further try would only fence it in turn. Trying again takes a person."""


class LaneBatch(msgspec.Struct, gc=False):
    """What one lane gives to one write."""

    lane: str
    records: list[Record]
    """In the order of the log; kinds that are not forwarded may be among them."""
    position: int
    """The next sequence number behind them."""
    bytes: int = 0
    """Of the records, as they are on disk."""
    claims: tuple[Claims, ...] = ()
    """What has to hold of the topic in the moment in which the documents among the records come to stand in it."""


class Written(msgspec.Struct):
    """What one write has done."""

    records: dict[str, int]
    """By lane, how many went out; dead letters are among them."""
    wire_bytes: int = 0
    """As sent, compressed."""
    dead_letters: dict[str, int] = {}
    """Records by reason (`Refusal.error`)."""
    held: frozenset[str] = frozenset()
    """Lanes of which nothing was written: they have to wait a moment, and be given again."""
    contested: int = 0
    """Tries before that were given up because others wrote about the same devices."""
    superseded: int = 0
    """Documents left out, with what devices had reported here, because of a newer connection elsewhere."""
    gateways: int = 0
    """Those with a record in the state topic; 0: nobody has looked."""


class Sink(Protocol):
    """Where records go."""

    @property
    def holds_positions(self) -> bool:
        """Positions are part of each write; otherwise the local cursor is all there is."""

    async def start(self, lanes: Sequence[str], log_id: bytes) -> dict[str, int]:
        """Connects, and ends whatever an earlier life left unfinished. Called again after every SinkError.

        Returns: by lane, the position that the sink itself holds for this log (16 bytes of id); only where it has one.

        Raises:
            SinkAway: it cannot be reached.
        """

    async def write(self, batches: Sequence[LaneBatch]) -> Written:
        """Writes records and positions; on return both are durable.

        Raises:
            SinkError: as its kinds say.
        """

    async def probe(self) -> None:
        """Asks the far side, while nothing is written, whether it is still there. Raises SinkAway."""

    async def stop(self) -> None:
        """Lets go of everything; never fails and never waits for the far side longer than a moment."""
