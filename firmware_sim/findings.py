"""Findings: what an audit found, in numbers and a few examples of each thing that is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

EXAMPLES_MAX = 10


class Wrong(msgspec.Struct):
    """One kind of thing that must not be: how many, and the first few in words."""

    count: int = 0
    examples: list[str] = []

    def note(self, example: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(example)


class Delay(msgspec.Struct, frozen=True):
    """Milliseconds from a message's first sending to something."""

    p50_ms: float
    p99_ms: float
    count: int

    @classmethod
    def of(cls, nanoseconds: Sequence[int]) -> Delay | None:
        """Take percentiles; None of nothing."""
        if not nanoseconds:
            return None
        ordered = sorted(nanoseconds)

        def percentile(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6

        return cls(percentile(0.5), percentile(0.99), len(ordered))


class Findings(msgspec.Struct):
    """The result of an audit."""

    devices: int = 0
    published: int = 0
    acknowledged: int = 0
    refused: int = 0
    arrived: int = 0
    """Different messages found."""
    records: int = 0
    """Records of this fleet's runs, doubles among them."""
    foreign: int = 0
    """Records of other runs, by their marker: not looked at."""
    resent: int = 0
    """Additional copies of QoS 1 messages that their device had to send again: allowed."""
    sealed: int = 0
    sealed_by_device: int = 0
    """Of the sealed records."""
    lost: Wrong = msgspec.field(default_factory=Wrong)
    """Acknowledged, and not there."""
    doubled: Wrong = msgspec.field(default_factory=Wrong)
    reordered: Wrong = msgspec.field(default_factory=Wrong)
    altered: Wrong = msgspec.field(default_factory=Wrong)
    """Content, device or topic are not what was published."""
    unknown: Wrong = msgspec.field(default_factory=Wrong)
    """Nobody published it."""
    unopened: Wrong = msgspec.field(default_factory=Wrong)
    """Sealed, and does not open."""
    repeated: Wrong = msgspec.field(default_factory=Wrong)
    """Sealed by its device under a number that another message has, or that is not above the one before."""
    documents: int | None = None
    """Devices whose documents were compared; None: they were not asked for."""
    documents_wrong: Wrong = msgspec.field(default_factory=Wrong)
    to_acknowledged: Delay | None = None
    to_kafka: Delay | None = None
    """Until a reader that was reading along had it; None when it was read afterwards."""

    def wrongs(self) -> dict[str, Wrong]:
        """Name everything that must be zero."""
        return {
            "lost": self.lost,
            "doubled": self.doubled,
            "out of order": self.reordered,
            "altered": self.altered,
            "unknown": self.unknown,
            "not opened": self.unopened,
            "numbers wrong": self.repeated,
            "documents wrong": self.documents_wrong,
        }

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not any(wrong.count for wrong in self.wrongs().values())
