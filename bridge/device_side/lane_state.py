"""LaneState: what an uplink lane's log carries on from segment to segment, so that a start reads only the last one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from bridge.device_side.handshakes import Handshakes
from bridge.log.record import DOCUMENT, HEAD_BYTES, MESSAGE, OUTCOME, Record, decode_context

_decode = msgspec.msgpack.Decoder(tuple[bytes, dict[str, int]] | dict[str, set[int]]).decode


class LaneState:
    """A fold (see `log.fold`): the open QoS 2 hand-shakes, and how much waits for the devices that hold much."""

    def __init__(self) -> None:
        self.handshakes = Handshakes()
        self.heavy: Mapping[str, int] = {}
        """Bytes by device, as the next checkpoint is to have them; replaced as a whole, by another thread."""
        self._behind: Counter[bytes] = Counter()
        self._replayed = 0

    @property
    def behind(self) -> dict[str, int]:
        """Recovery: bytes by device in the records behind the checkpoint."""
        sizes: Counter[str] = Counter()
        for context, size in self._behind.items():
            sizes[decode_context(context)[0]] += size
        return dict(sizes)

    @property
    def replayed(self) -> int:
        """Recovery: how many records there were behind the checkpoint."""
        return self._replayed

    def apply(self, effect: object) -> None:
        self.handshakes.apply(effect)

    def checkpoint(self) -> bytes:
        return msgspec.msgpack.encode((self.handshakes.checkpoint(), self.heavy))

    def restore(self, payload: bytes) -> None:
        found = _decode(payload)
        if isinstance(found, tuple):
            payload, self.heavy = found
        self.handshakes.restore(payload)  # (the whole of it where an earlier version has written it)

    def replay(self, record: Record) -> None:
        self.handshakes.replay(record)
        self._replayed += 1
        if record.kind in (MESSAGE, DOCUMENT, OUTCOME):
            size = HEAD_BYTES + len(record.context) + len(record.headers) + len(record.payload)
            self._behind[record.context] += size
