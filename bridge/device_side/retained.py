"""Retained messages: the last message of a topic, for those who subscribe later [MQTT-3.3.1-5].

Kept in memory, written behind to the cold store. The bounds are the number of topics and their bytes; past them a
message is not kept (and delivered all the same), nor is the one it would have replaced: it is not the last any more.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bridge.config import Limits
from bridge.device_side.cold import ColdStore
from bridge.message import Message
from bridge.mqtt.topics import matches

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


class Retained:
    """Topic → message."""

    def __init__(self, cold: ColdStore, limits: Limits) -> None:
        self._cold = cold
        self._limits = limits
        self._messages = {topic: _decoder.decode(value) for topic, value in cold.load("retained")}
        self._bytes = sum(map(_size, self._messages.values()))

    def store(self, message: Message) -> bool:
        """Keeps it, or with an empty payload forgets the topic [MQTT-3.3.1-6]. False: there is no room for it."""
        before = self._messages.get(message.topic)
        if before == message:
            return True
        after = self._bytes + _size(message) - (_size(before) if before else 0)
        if not message.payload:
            self._forget(message.topic)
            return True
        if after > self._limits.retained_bytes or (before is None and len(self._messages) >= self._limits.retained):
            self._forget(message.topic)
            return False
        self._messages[message.topic] = message
        self._bytes = after
        self._cold.put("retained", message.topic, _encoder.encode(message))
        return True

    def matching(self, topic_filter: str) -> Iterator[Message]:
        """Those a new subscription is sent. A filter without wildcards costs one look-up."""
        if "+" not in topic_filter and "#" not in topic_filter:
            if (message := self._messages.get(topic_filter)) is not None:
                yield message
            return
        yield from [message for topic, message in self._messages.items() if matches(topic_filter, topic)]

    def _forget(self, topic: str) -> None:
        before = self._messages.pop(topic, None)
        if before is not None:
            self._bytes -= _size(before)
            self._cold.put("retained", topic, None)


def _size(message: Message) -> int:
    return len(message.payload) + len(message.topic)
