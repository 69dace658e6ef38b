"""The names that edge nodes' births gave to their metrics, on disk before anything is read by them.

A birth waits until its names are stored. So whatever is killed, what is on disk is the last birth that was taken in, or
a later one: data is never read by the names of an older.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import msgspec

from bridge.device_side.cold import ColdStore
from bridge.device_side.obstacle import Obstacle
from bridge.sparkplug.errors import NotSparkplug
from bridge.sparkplug.names import Names

_log = logging.getLogger(__name__)
_SEPARATOR = "\0"
Place = tuple[str, str, str, str]
"""Whose names: the client (a device of ours), group, edge node, and the device behind it, or ""."""


class NotStored(Obstacle):
    """Names on their way to the disk."""

    def __init__(self, names: Names, refuse_after_s: float) -> None:
        """`refuse_after_s`: as of any obstacle."""
        super().__init__(refuse_after_s)
        self.names = names
        self._blocked = True

    def __str__(self) -> str:
        return "births"

    @property
    def blocked(self) -> bool:
        return self._blocked

    @property
    def why(self) -> str:
        return "the names of a birth are not on disk yet"

    def stored(self) -> None:
        """They are."""
        self._blocked = False


class Births:
    """Place → names, in the cold store."""

    def __init__(
        self,
        cold: ColdStore,
        metrics_max: int,
        refuse_after_s: float,
        soon: Callable[[Callable[[], object]], object],
        wake: Callable[[], object],
    ) -> None:
        """Args:
        cold: where they are kept.
        metrics_max: named in all of them; each birth counts as one more.
        refuse_after_s: how long a birth waits before its sender is told, where that is possible.
        soon: the loop's `call_soon_threadsafe`.
        wake: called when something that waited can go on.
        """
        self._cold = cold
        self._left = metrics_max
        self._metrics_max = metrics_max
        self._refuse_after_s = refuse_after_s
        self._soon = soon
        self._wake = wake
        self._stored: dict[Place, Names] = {}
        self._waiting: dict[Place, NotStored] = {}
        for key, value in cold.load("births"):
            try:
                client, group, node, device = key.split(_SEPARATOR)
                names = self._stored[client, group, node, device] = Names.decode(value)
                self._left -= _cost(names)
            except (ValueError, msgspec.DecodeError, NotSparkplug) as error:
                _log.error("the names of a birth cannot be read, it will be asked for: %s", error)

    def __iter__(self) -> Iterator[tuple[Place, Names]]:
        """Those of the gateway's last life; before anything is kept."""
        return iter(self._stored.items())

    def keep(self, place: Place, names: Names) -> NotStored | None:
        """Stores them instead of those that were there. None: they are on disk; else what is to be waited for.

        Raises:
            NotSparkplug: that would be too many metrics on this gateway.
        """
        waiting, stored = self._waiting.get(place), self._stored.get(place)
        if waiting is not None and waiting.names == names:
            return waiting
        if waiting is None and stored is not None and stored == names:
            names.share(stored)
            return None
        before = waiting.names if waiting is not None else stored
        more = _cost(names) - (_cost(before) if before is not None else 0)
        if more > self._left:
            raise NotSparkplug(f"the gateway knows nearly {self._metrics_max} metrics already")
        self._left -= more
        fresh = self._waiting[place] = NotStored(names, self._refuse_after_s)
        self._cold.put("births", _SEPARATOR.join(place), names.encode())
        self._cold.after_commit(lambda: self._soon(lambda: self._done(place, fresh)))
        return fresh

    def _done(self, place: Place, waiting: NotStored) -> None:
        waiting.stored()
        if self._waiting.get(place) is waiting:
            del self._waiting[place]
            self._stored[place] = waiting.names
        self._wake()


def _cost(names: Names) -> int:
    """A birth without a metric is not for nothing either."""
    return len(names) + 1
