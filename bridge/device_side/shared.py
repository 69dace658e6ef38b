"""One shared subscription, `$share/NAME/FILTER`: its members take its messages in turn (MQTT5 §4.8.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from bridge.mqtt.subscription import Subscription

Member = TypeVar("Member")


class ShareGroup(Generic[Member]):
    """The members of one filter under one share name, the one whose turn it is first."""

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: dict[Member, Subscription] = {}

    def __len__(self) -> int:
        """How many are in it."""
        return len(self._members)

    def join(self, member: Member, subscription: Subscription) -> None:
        """Adds a member, or changes the options of one, which keeps its turn."""
        self._members[member] = subscription

    def leave(self, member: Member) -> bool:
        """False where it was no member."""
        return self._members.pop(member, None) is not None

    def anybody(self, suits: Callable[[Member], bool]) -> bool:
        """Whether this is true of any member."""
        return any(map(suits, self._members))

    def offer(self, wait: Callable[[Member], int], take: Callable[[Member, Subscription], bool]) -> bool:
        """Offers a message round until one takes it, which then has its turn last; False: nobody did.

        Args:
            wait: how long it will wait with this member: 0 not at all; those with less are asked first.
            take: hands it to a member; False where that cannot have it.
        """
        later = []
        for member, subscription in self._members.items():
            if wait(member):
                later.append((member, subscription))
            elif take(member, subscription):
                return self._served(member)
        for member, subscription in sorted(later, key=lambda entry: wait(entry[0])):
            if take(member, subscription):
                return self._served(member)
        return False

    def _served(self, member: Member) -> bool:
        self._members[member] = self._members.pop(member)
        return True
