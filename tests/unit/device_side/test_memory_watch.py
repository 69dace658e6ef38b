"""The total bound: connections end, the largest before the others, and no more than needed."""

from __future__ import annotations

from bridge.device_side.memory_watch import MemoryWatch
from bridge.mqtt.reasons import Reason

KIB = 1 << 10


class Held:
    """A connection, as far as it is looked at here."""

    def __init__(self, held_bytes: int) -> None:
        self.held_bytes = held_bytes
        self.told: list[Reason] = []
        self.ended = False

    def dismiss(self, reason: Reason, text: str = "", *, why: str = "", will: bool = True) -> None:
        self.told.append(reason)

    def end(self) -> None:
        self.ended = True


def test_what_fits_is_left_alone() -> None:
    connections = [Held(KIB), Held(2 * KIB)]
    watch = MemoryWatch(3 * KIB, connections)
    watch.look()
    assert watch.held == 3 * KIB
    assert [each.ended for each in connections] == [False, False]


def test_the_largest_connections_end_and_no_more_than_needed() -> None:
    connections = [Held(size * KIB) for size in (0, 10, 500, 300, 5)]
    watch = MemoryWatch(600 * KIB, connections)
    watch.look()
    assert [each.ended for each in connections] == [False, False, True, False, False]
    assert connections[2].told == [Reason.QUOTA_EXCEEDED]
    assert watch.ended == 1
