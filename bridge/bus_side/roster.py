"""Roster: what the state topic says of every device and every gateway, read as any other program could.

It holds the newest value of each key as it is; what of it may be believed is asked of `bridge.belief`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec

from bridge.belief import Life
from bridge.bus_side.noise import Noise
from bridge.bus_side.topic_look import TopicLook
from bridge.bus_side.topic_tail import Taken
from bridge.config import Kafka
from bridge.log.record import GATEWAYS

_decode_life = msgspec.json.Decoder(Life).decode
_NONSENSE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Roster:
    """One state topic. Belongs to one event loop; call `close` at the end."""

    def __init__(
        self,
        kafka: Kafka,
        topic: str,
        noise: Noise,
        *,
        wanted: Callable[[str], bool] = lambda device: True,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Args:
        kafka: the cluster, and how to get in.
        topic: the compacted topic of the documents.
        noise: what aiokafka says, in which the reason may stand why there is no way to Kafka.
        wanted: devices whose documents are kept; gateways' records are kept anyway.
        progress: called with how many offsets of how many have been read, while a reading goes on.
        """
        self.documents: dict[str, bytes] = {}
        """Of devices, by id."""
        self.gateways: dict[str, bytes] = {}
        """Gateways' own records, by id; what is no record is left out."""
        self.lives: dict[str, Life] = {}
        """What of those decides."""
        self._wanted = wanted
        self._changed: set[str] = set()
        self._look = TopicLook(kafka, topic, "state.topic, --topic", self._take, noise, progress)

    async def refresh(self) -> set[str]:
        """Reads up to the present end; the devices whose documents are others now, or gone. Raises FleetError."""
        await self._look.refresh()
        changed, self._changed = self._changed, set()
        return changed

    async def close(self) -> None:
        """Gives the connection back."""
        await self._look.close()

    def _take(self, record: Taken) -> None:
        key = (record.key or b"").decode(errors="replace")
        if key.startswith(GATEWAYS):
            self._take_life(key.removeprefix(GATEWAYS), record.value)
        elif self._wanted(key):
            self._changed.add(key)
            if record.value is None:
                self.documents.pop(key, None)
            else:
                self.documents[key] = record.value

    def _take_life(self, gateway: str, value: bytes | None) -> None:
        self.gateways.pop(gateway, None)
        self.lives.pop(gateway, None)
        if value is not None:
            with contextlib.suppress(*_NONSENSE):
                self.lives[gateway] = _decode_life(value)
                self.gateways[gateway] = value
