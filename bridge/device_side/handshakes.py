"""QoS 2 hand-shakes that a lane's log still has open, so that a crash neither loses nor doubles a message.

A hand-shake opens with the PUBLISH record and ends with the RELEASE record (PUBREL arrived) or the device's RESET
record (its session was cleared). Each segment opens with a checkpoint of what is open: recovery reads one segment only.
"""

from __future__ import annotations

import msgspec

from bridge.log.record import DOCUMENT, MESSAGE, OUTCOME, RELEASE, RESET, Record, decode_context

_OPENING = (MESSAGE, DOCUMENT, OUTCOME)
"""The kinds of record that a QoS 2 PUBLISH can become."""


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A QoS 2 PUBLISH was appended."""

    device: str
    packet_id: int


class Released(msgspec.Struct, frozen=True, gc=False):
    """Its PUBREL was appended."""

    device: str
    packet_id: int


class Reset(msgspec.Struct, frozen=True, gc=False):
    """The device's session was cleared."""

    device: str


Effect = Opened | Released | Reset


class Handshakes:
    """The open hand-shakes of one lane: a fold over its records."""

    def __init__(self) -> None:
        self.open: dict[str, set[int]] = {}
        """Packet identifiers by device."""

    def apply(self, effect: object) -> None:
        if isinstance(effect, Opened):
            self.open.setdefault(effect.device, set()).add(effect.packet_id)
        elif isinstance(effect, Released):
            self._release(effect.device, effect.packet_id)
        elif isinstance(effect, Reset):
            self.open.pop(effect.device, None)

    def checkpoint(self) -> bytes:
        return msgspec.msgpack.encode(self.open)

    def restore(self, payload: bytes) -> None:
        self.open = msgspec.msgpack.decode(payload, type=dict[str, set[int]])

    def replay(self, record: Record) -> None:
        if record.kind in _OPENING and record.qos == 2:
            self.apply(Opened(decode_context(record.context)[0], record.packet_id))
        elif record.kind == RELEASE:
            self._release(decode_context(record.context)[0], record.packet_id)
        elif record.kind == RESET:
            self.open.pop(decode_context(record.context)[0], None)

    def _release(self, device: str, packet_id: int) -> None:
        ids = self.open.get(device)
        if ids is not None:
            ids.discard(packet_id)
            if not ids:
                del self.open[device]
