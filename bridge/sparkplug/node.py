"""An edge node: its birth, its sequence, its devices, and what messages make of them (Sparkplug 3.0, ch. 5 and 6).

`judge` says what a message would change and changes nothing, for a message may have to wait; `take` changes it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from bridge.sparkplug import topic as kinds
from bridge.sparkplug.errors import NotSparkplug
from bridge.sparkplug.names import Names

SEQUENCE: Final = 256
"""Numbers of the sequence: 0 to 255 [tck-id-payloads-sequence-num-incrementing]."""
UNBORN: Final = "unborn"
"""Data without the birth that it belongs to."""
GAP: Final = "gap"
"""A message between this one and the last is missing."""
UNKNOWN_METRIC: Final = "unknown-metric"
"""Its name or alias is not in the birth."""


class Facts(msgspec.Struct, frozen=True):
    """What of a message counts here."""

    kind: str
    device: str = ""
    """Empty: the node itself."""
    seq: int = 0
    bd_seq: int | None = None
    """Of NBIRTH and NDEATH: which session of the node it is."""
    names: Names | None = None
    """Of a birth."""
    strangers: bool = False
    """It has metrics that the birth has not."""


class Step(msgspec.Struct, frozen=True):
    """What a message changes."""

    facts: Facts
    alive: bool
    next_seq: int | None
    stale: str | None
    """Why what is said of the node since cannot be relied on, until its next birth: one of the words above."""
    gap: bool = False
    """This message shows that others are missing."""
    ignored: bool = False
    """A death of a session that is over already."""
    gone: tuple[str, ...] = ()
    """Devices that are not there any more, though nobody said so of each."""

    @property
    def wants_birth(self) -> bool:
        """The node should be asked for one."""
        return self.stale is not None


class EdgeNode:
    """One of them, as far as it has been heard of."""

    __slots__ = ("_awaited", "alive", "bd_seq", "devices", "names", "next_seq", "present", "stale")

    def __init__(self, names: Names | None = None, devices: dict[str, Names] | None = None) -> None:
        """`names` and `devices` (by id): of a former life of the gateway; the node has not been heard since."""
        self.names = names
        self.devices = devices or {}
        self.alive = False
        """It was born, and has neither died nor gone."""
        self.present: set[str] = set()
        """Its devices that were born and are not dead."""
        self.bd_seq: int | None = None
        """Of the session that its last birth began."""
        self.next_seq: int | None = None
        self.stale: str | None = None
        self._awaited: set[str] = set()
        """Devices that were there before the node was born anew within its session: each is to be born, too."""

    def names_of(self, device: str) -> Names | None:
        """By which the data of the device, or with "" of the node, is read: those of its last birth, dead or alive."""
        return self.devices.get(device) if device else self.names

    def is_there(self, device: str) -> bool:
        """Whether the device, or with "" the node, was born and is neither dead nor gone."""
        return self.alive and (not device or device in self.present)

    @property
    def size(self) -> int:
        """Metrics whose names are kept."""
        return sum(map(len, self.devices.values())) + (len(self.names) if self.names is not None else 0)

    def judge(self, facts: Facts) -> Step:
        """What the message, which is one of the node's own, changes.

        Raises:
            NotSparkplug: its sequence number is none.
        """
        if facts.kind == kinds.NDEATH:
            return self._death(facts)
        if facts.seq >= SEQUENCE:
            raise NotSparkplug(f"its sequence number is not below {SEQUENCE}")
        follows = (facts.seq + 1) % SEQUENCE
        if facts.kind == kinds.NBIRTH:
            return Step(facts, True, follows, None)
        gap = self.alive and self.next_seq != facts.seq
        stale = self.stale or self._doubt(facts, gap=gap)
        gone = () if facts.kind in (kinds.DBIRTH, kinds.DDEATH) else tuple(sorted(self._awaited))
        return Step(facts, self.alive, follows, stale, gap=gap, gone=gone)

    def take(self, step: Step) -> None:
        """The message is in."""
        facts = step.facts
        again = facts.kind == kinds.NBIRTH and self.alive
        self.alive, self.next_seq, self.stale = step.alive, step.next_seq, step.stale
        if facts.kind == kinds.NBIRTH:
            self._awaited = set(self.present) if again else set()
            self.names, self.bd_seq = facts.names, facts.bd_seq
            if not again:
                self.present.clear()
        elif facts.kind == kinds.DBIRTH and facts.names is not None:
            self.devices[facts.device] = facts.names
            self.present.add(facts.device)
            self._awaited.discard(facts.device)
        elif facts.kind == kinds.DDEATH:
            self.present.discard(facts.device)
            self._awaited.discard(facts.device)
        elif facts.kind == kinds.NDEATH and not step.ignored:
            self.present.clear()
        if step.gone:
            self.present -= self._awaited
            self._awaited.clear()

    def lost(self) -> tuple[str, ...]:
        """Its connection is over; returns the devices that went with it."""
        gone = tuple(sorted(self.present))
        self.alive = False
        self.present.clear()
        self._awaited.clear()
        return gone

    def _death(self, facts: Facts) -> Step:
        """Only that of the session which the last birth began counts: an older will may come late
        [tck-id-payloads-ndeath-bdseq]."""
        if not self.alive or facts.bd_seq is None or facts.bd_seq != self.bd_seq:
            return Step(facts, self.alive, self.next_seq, self.stale, ignored=True)
        return Step(facts, False, None, self.stale, gone=tuple(sorted(self.present)))

    def _doubt(self, facts: Facts, *, gap: bool) -> str | None:
        born = facts.device in self.present and facts.device not in self._awaited
        if not self.alive or (facts.kind == kinds.DDATA and not born):
            return UNBORN
        if gap:
            return GAP
        return UNKNOWN_METRIC if facts.strangers else None
