"""Waiting: how much of a lane waits for each device, so that one that babbles does not fill it for all.

A device's account goes up with each record and down when what it appended is forwarded: not record by record, but
stretch by stretch of the log, each knowing who has how much in it. A stretch is never shorter than a sixteenth of what
waits, so there are few of them however long the backlog. Accounts are exact as they go up and late as they go down.
"""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Mapping
from typing import Final, Protocol
from weakref import WeakValueDictionary

import msgspec

from bridge.device_side.obstacle import Obstacle
from bridge.log.settings import LogSettings
from bridge.units import format_size

_STRETCH_PART: Final = 16
_STRETCH_MIN: Final = 1 << 20
_LANE_PART: Final = 64
"""No stretch needs to be a smaller part of the lane, and no device with less is worth a word in a checkpoint."""
_NAME_MAX: Final = 256
"""A longer device id is not written into checkpoints."""


class Stock(Protocol):
    """What this needs to know of the lane's writer."""

    next_seq: int

    @property
    def capacity(self) -> int:
        """What the lane can hold as things are, bytes."""

    @property
    def room(self) -> int:
        """Bytes of records that have a place as its files are, without another segment."""

    @property
    def oldest(self) -> int | None:
        """The first record that it still holds."""

    def bytes_from(self, position: int) -> int:
        """What the records from `position` on take, about."""


class Account(Obstacle):
    """One device in one lane."""

    __slots__ = ("__weakref__", "_waiting", "bytes", "device", "fresh")

    def __init__(self, waiting: Waiting, device: str) -> None:
        super().__init__(waiting.refuse_after_s)
        self.device = device
        self.bytes = 0
        """Of its records that wait."""
        self.fresh = 0
        """Those of the stretch that is not closed."""
        self._waiting = waiting

    def __str__(self) -> str:
        return f"device={self.device} in lane {self._waiting.lane}"

    def waited(self, now: float) -> float:
        self._waiting.blocked.add(self)
        return super().waited(now)

    def add(self, size: int) -> None:
        """It has appended a record of `size` bytes."""
        if not self.fresh:
            self._waiting.touched.append(self)
        self.fresh += size
        self.bytes += size

    @property
    def blocked(self) -> bool:
        return self.bytes > self._waiting.threshold and self._waiting.holds()

    @property
    def why(self) -> str:
        share, size = format_size(self._waiting.threshold), format_size(self.bytes)
        return f"{size} of its messages wait and its share is {share} (queue.device_share)"


class Stretch(msgspec.Struct, frozen=True):
    """Part of the log: who has how much in it."""

    end: int
    """The sequence number behind it."""
    accounts: list[Account]
    sizes: array[int]
    total: int


class Waiting:
    """The accounts of one lane."""

    def __init__(self, lane: str, settings: LogSettings, stock: Stock) -> None:
        self.lane = lane
        self.threshold = sys.maxsize
        """Over so many bytes an account is `blocked` if `holds`."""
        self.heavy: Mapping[str, int] = {}
        """What waits for the devices that hold much; replaced as a whole, so that another thread may read it."""
        self.touched: list[Account] = []
        """Who has something in the stretch that is not closed."""
        self.bytes = 0
        """In the stretches that are closed."""
        self.refuse_after_s = settings.refuse_after
        self._settings = settings
        self._stock = stock
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()
        self._stretches: deque[Stretch] = deque()
        self._much: set[Account] = set()
        self.blocked: set[Account] = set()
        """Those that somebody waits for."""
        self.look(1, 0.0)

    def account(self, device: str) -> Account:
        """The device's account. It lasts while somebody holds it or something waits."""
        account = self._accounts.get(device)
        if account is None:
            account = self._accounts[device] = Account(self, device)
        return account

    def holds(self) -> bool:
        """Whether a device over the threshold has to wait now.

        Where nobody has set a share, the only device of a lane may go on until half of the last segment is left.
        """
        own = self._settings.device_share is not None
        return own or len(self._accounts) > 1 or self._stock.room < self._settings.segment_bytes // 2

    def restore(self, heavy: Mapping[str, int], first: int, begun: int, behind: Mapping[str, int]) -> None:
        """At start: `heavy` waited in the records from `first` to before `begun`, `behind` in those from there on.

        Some of what was heavy may have been forwarded since that was written: no more waits than there is room for.
        """
        room = self._stock.bytes_from(first) - sum(behind.values())
        part = min(1.0, max(0, room) / max(1, sum(heavy.values()))) / _STRETCH_PART
        for number in range(1, _STRETCH_PART + 1) if first < begun else ():
            end = first + (begun - first) * number // _STRETCH_PART
            self._charge({device: int(size * part) for device, size in heavy.items()}, end)
        self._charge(behind, self._stock.next_seq)
        self._weigh()

    def look(self, forwarded: int, now: float) -> None:
        """Gives back what lies before `forwarded`, or is not in the log any more; to be called now and then."""
        position = max(forwarded, self._stock.oldest or 1)
        while self._stretches and self._stretches[0].end <= position:
            self._give_back(self._stretches.popleft())
        fresh = sum(account.fresh for account in self.touched)
        least = min(_STRETCH_MIN, self._settings.max_bytes // _LANE_PART)
        if fresh > max(least, self.bytes // _STRETCH_PART) or position >= self._stock.next_seq:
            self._close(fresh)
        if self._stretches and self._stretches[0].end <= position:
            self._give_back(self._stretches.popleft())
        self._weigh()
        over = {account for account in self.blocked if not account.blocked}
        for account in self.blocked:
            account.look(now)
        self.blocked -= over

    def _close(self, fresh: int) -> None:
        """The stretch ends here."""
        if not self.touched:
            return
        sizes = array("q", (account.fresh for account in self.touched))
        for account in self.touched:
            account.fresh = 0
        self._much.update(self.touched)
        self._stretches.append(Stretch(self._stock.next_seq, self.touched, sizes, fresh))
        self.bytes += fresh
        self.touched = []

    def _charge(self, sizes: Mapping[str, int], end: int) -> None:
        accounts = [self.account(device) for device in sizes]
        for account, size in zip(accounts, sizes.values(), strict=True):
            account.bytes += size
        self._much.update(accounts)
        total = sum(sizes.values())
        self._stretches.append(Stretch(end, accounts, array("q", sizes.values()), total))
        self.bytes += total

    def _give_back(self, stretch: Stretch) -> None:
        for account, size in zip(stretch.accounts, stretch.sizes, strict=True):
            account.bytes -= size
        self.bytes -= stretch.total

    def _weigh(self) -> None:
        """What one device may have, and who has much."""
        capacity, share = self._stock.capacity, self._settings.device_share
        if share is not None:
            self.threshold = int(capacity * share)
        elif not self._settings.drop_oldest:
            self.threshold = capacity // 2
        least = capacity // _LANE_PART
        self._much = {account for account in self._much if account.bytes > least}
        self.heavy = {each.device: each.bytes for each in self._much if len(each.device) <= _NAME_MAX}
