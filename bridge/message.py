"""Message: the one value that crosses layers.

It is what an MQTT PUBLISH says, whichever way it travels. It knows nothing of connections, of disks or of Kafka.
"""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, gc=False):
    """One application message.

    Not frozen only because building a frozen struct costs more on the hot path; nobody changes one after it was made.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    """The identifier of the QoS 1 or 2 exchange on the connection it came by; 0 at QoS 0."""
    properties: dict[int, object] | None = None
    """MQTT 5 properties by identifier (MQTT5 §2.2.2.2); user properties (0x26) as a list of (name, value) pairs."""

    @property
    def size(self) -> int:
        """Bytes it is counted with where it is kept: payload, topic, and what its properties hold."""
        size = len(self.payload) + len(self.topic)
        return size if self.properties is None else size + sum(map(_size, self.properties.values()))


_VALUE_BYTES = 64
"""What a value takes beside its characters or bytes, about: a pair of empty strings is not for nothing."""


def _size(value: object) -> int:
    if isinstance(value, (str, bytes)):
        return _VALUE_BYTES + len(value)
    return sum(map(_size, value)) if isinstance(value, (list, tuple)) else _VALUE_BYTES
