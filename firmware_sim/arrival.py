"""Arrival: one record as a reader of the bus finds it, from Kafka or from JSON Lines files, and what is in it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from bridge.security.envelope import HEADER_SEAL, Opener, SealError, open_record


class Arrival(msgspec.Struct, frozen=True):
    """One record that arrived."""

    topic: str
    key: str
    value: bytes | None
    headers: Mapping[str, bytes]
    place: str
    """Where it stands, for people: topic, partition and offset, or file and line."""
    seen_at: int | None = None
    """When a reader that was reading along got it, Unix ns; None: it was read afterwards."""

    @property
    def sealed(self) -> bool:
        """Whether its value is a sealed payload."""
        return HEADER_SEAL in self.headers

    @property
    def mqtt_topic(self) -> str:
        """The topic that the device published it on."""
        return self.headers.get("mqtt-topic", b"").decode()

    def content(self, opener: Opener | None) -> tuple[bytes, int | None]:
        """Return the payload as the device had it, and the number under which it sealed, where it did itself.

        Raises:
            SealError: it is sealed and does not open with the keys that `opener` has.
        """
        value = self.value or b""
        if not self.sealed:
            return value, None
        if opener is None:
            raise SealError("it is sealed, and no recipient's key was given")
        opened = open_record(opener, self.headers, self.key.encode(), value)
        return opened.payload, opened.number
