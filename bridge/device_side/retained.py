"""Retained messages: the last message of a topic, for those who subscribe later [MQTT-3.3.1-5].

Kept in memory, written behind to the cold store. The bounds are the number of topics and their bytes; past them a
message is not kept (and delivered all the same), nor is the one it would have replaced: it is not the last any more.
One with a Message Expiry Interval goes when that is over, and its time runs on while the daemon does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from bridge.config import Limits
from bridge.device_side.cold import ColdStore
from bridge.device_side.long_clock import LongClock, Moment
from bridge.device_side.topic_tree import TopicTree
from bridge.message import Message
from bridge.mqtt.properties import Property
from bridge.mqtt.topics import weight


class _Stored(Message, omit_defaults=True, gc=False):
    """A message as the cold store has it."""

    expires: Moment | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)
_NEVER = float("inf")


class Retained:
    """Topic → message."""

    def __init__(
        self,
        cold: ColdStore,
        limits: Limits,
        long: LongClock,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        cold: where they are kept between two starts.
        limits: how many and how large.
        long: for what must outlive the loop's clock.
        now: the loop's clock, seconds.
        """
        self._cold = cold
        self._limits = limits
        self._now = now
        self._long = long
        self._messages: dict[str, Message] = {}
        self._topics = TopicTree()
        self._expires: dict[str, float] = {}
        """By topic, of those that expire: a reading of the loop's clock."""
        self._next_expiry = _NEVER
        """No message is over before."""
        self.elsewhere: Callable[[str], Iterable[Message]] = lambda topic_filter: ()
        """What is retained of topics that match a filter, and is not kept here: what devices are told of themselves."""
        self._bytes = 0
        for topic, value in cold.load("retained"):
            stored = _decoder.decode(value)
            self._messages[topic] = stored
            self._topics.add(topic)
            self._bytes += _size(stored)
            if stored.expires is not None:
                self._expires_at(topic, now() + long.until(stored.expires))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._messages)

    @property
    def stored_bytes(self) -> int:
        """Of their payloads, names and properties."""
        return self._bytes

    def store(self, message: Message, *, durable: bool = True) -> bool:
        """Keeps it, or with an empty payload forgets the topic [MQTT-3.3.1-6]. False: there is no room for it.

        One that is not `durable` is not written to the store.
        """
        before = self._messages.get(message.topic)
        if before == message and message.topic not in self._expires:
            return True
        after = self._bytes + _size(message) - (_size(before) if before else 0)
        if not message.payload:
            self._forget(message.topic)
            return True
        if after > self._limits.retained_bytes or (before is None and len(self._messages) >= self._limits.retained):
            self._forget(message.topic)
            return False
        self._messages[message.topic] = message
        if before is None:
            self._topics.add(message.topic)
        self._bytes = after
        if durable:
            self._put(message)
        return True

    def matching(self, topic_filter: str) -> Iterator[Message]:
        """Those a new subscription is sent, at the cost of the filter's levels and of what is found."""
        told = set()
        for message in self.elsewhere(topic_filter):
            told.add(message.topic)
            yield message
        now = self._now()
        for topic in list(self._topics.match(topic_filter)):
            if not self._is_over(topic, now) and topic not in told:
                yield self._messages[topic]

    def expires(self, topic: str) -> float | None:
        """The reading of the loop's clock at which the topic's message is over; None: never."""
        return self._expires.get(topic)

    def expire(self) -> None:
        """Forgets those whose time is over [MQTT-3.3.2-5]."""
        now = self._now()
        if now < self._next_expiry:
            return
        for topic in [topic for topic in self._expires if self._is_over(topic, now)]:
            self._forget(topic)
        self._next_expiry = min(self._expires.values(), default=_NEVER)

    def _is_over(self, topic: str, now: float) -> bool:
        return self._expires.get(topic, _NEVER) <= now

    def _put(self, message: Message) -> None:
        interval = message.properties.get(Property.MESSAGE_EXPIRY_INTERVAL) if message.properties else None
        expires = None
        self._expires.pop(message.topic, None)
        if isinstance(interval, int):
            self._expires_at(message.topic, self._now() + interval)
            expires = self._long.mark(interval)
        fields = {name: getattr(message, name) for name in Message.__struct_fields__}
        self._cold.put("retained", message.topic, _encoder.encode(_Stored(**fields, expires=expires)))

    def _expires_at(self, topic: str, moment: float) -> None:
        self._expires[topic] = moment
        self._next_expiry = min(self._next_expiry, moment)

    def _forget(self, topic: str) -> None:
        self._expires.pop(topic, None)
        before = self._messages.pop(topic, None)
        if before is not None:
            self._topics.remove(topic)
            self._bytes -= _size(before)
            self._cold.put("retained", topic, None)


def _size(message: Message) -> int:
    return message.size - len(message.topic) + weight(message.topic)
