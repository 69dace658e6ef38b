"""Meters: how much each device may send a second. Beyond it, it is not read for a moment; nothing is dropped.

What a device owes belongs to the device: it does not get rid of it by connecting again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from bridge.config import Limits
from bridge.device_side.seldom import Seldom
from bridge.device_side.token_bucket import Bounded, TokenBucket

_log = logging.getLogger(__name__)
_PAUSE_MIN_S = 0.05
"""Shorter pauses would cost more than what is read between them."""


class Meter:
    """Of one device."""

    __slots__ = ("_bytes", "_messages", "_owner")

    def __init__(self, owner: Meters, limits: Limits, now: float) -> None:
        self._owner = owner
        self._messages, self._bytes = (
            None if rate is None else TokenBucket(rate, max(1.0, rate * limits.rate_burst), now)
            for rate in (limits.messages_per_s, limits.bytes_per_s)
        )

    def take(self, now: float, size: int, messages: int) -> int:
        """So many bytes were read, with so many messages in them: how many of these may go on now."""
        if self._bytes is not None:
            self._bytes.level(now)
            self._bytes.spend(size)
        if self._messages is None:
            return messages
        allowed = min(messages, max(0, int(self._messages.level(now))))
        self._messages.spend(allowed)
        return allowed

    def give_back(self, messages: int) -> None:
        """They were not taken in after all."""
        if self._messages is not None:
            self._messages.spend(-messages)

    def pause(self, now: float, waiting: int) -> float:
        """How long not to read, in seconds; `waiting`: messages that were not allowed yet."""
        pause = 0.0
        if self._bytes is not None and (owed := -self._bytes.level(now)) > 0:
            pause = owed / self._bytes.rate
        if self._messages is not None and waiting:
            pause = max(pause, (1 - self._messages.level(now)) / self._messages.rate)
        return max(pause, _PAUSE_MIN_S) if pause > 0 else 0.0

    def held(self, device: str, peer: str) -> None:
        """A pause begins."""
        self._owner.held(device, peer)

    def freed(self) -> None:
        """It is over, or the connection is."""
        self._owner.held_now -= 1


class Meters:
    """Of all devices."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        """`now`: a monotonic clock, seconds."""
        self.held_now = 0
        """Connections that are not read at the moment for what they sent."""
        self.pauses = 0
        """Since the start."""
        self._on = limits.messages_per_s is not None or limits.bytes_per_s is not None
        self._meters = Bounded(limits.rates_remembered, lambda: Meter(self, limits, now()))
        self._seldom = Seldom(now)

    def of(self, device: str) -> Meter | None:
        """None: nothing is measured."""
        return self._meters.of(device) if self._on else None

    def held(self, device: str, peer: str) -> None:
        """Counts it; says so once a minute for each device."""
        self.held_now += 1
        self.pauses += 1
        if (times := self._seldom.due(device)) > 0:
            _log.warning(
                "held device=%s peer=%s: it sends more than limits.messages_per_s or bytes_per_s (%d pauses since this "
                "was last said)",
                device,
                peer,
                times,
            )
