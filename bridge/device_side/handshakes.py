"""QoS 2 hand-shakes that a lane's log still has open, so that a crash neither loses nor doubles a message.

A hand-shake opens with the PUBLISH record and ends with the RELEASE record (PUBREL arrived) or its session's RESET
record (the session was cleared). Each segment opens with a checkpoint of what is open: recovery reads one segment only.

A record says whose session it is about by its context's device, and by a header where the client id is another.
"""

from __future__ import annotations

from typing import Final

import msgspec

from bridge.log.record import (
    DOCUMENT,
    MESSAGE,
    OUTCOME,
    RELEASE,
    RESET,
    Record,
    decode_context,
    decode_headers,
    encode_headers,
)
from bridge.mqtt.session_name import client_id_of, device_of, session_name

CLIENT_ID: Final = "client-id"
"""The header; readers of the topic see it, too."""
_OPENING = (MESSAGE, DOCUMENT, OUTCOME)
"""The kinds of record that a QoS 2 PUBLISH can become."""


def headers_of(session: str) -> tuple[tuple[str, bytes], ...]:
    """Return the header that names a session; none where the record's device does."""
    client_id = client_id_of(session)
    return ((CLIENT_ID, client_id.encode()),) if client_id != device_of(session) else ()


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A QoS 2 PUBLISH was appended."""

    session: str
    packet_id: int

    @property
    def headers(self) -> bytes:
        """Of the record that it was appended as, where that has no others."""
        return encode_headers(headers_of(self.session))


class Released(msgspec.Struct, frozen=True, gc=False):
    """Its PUBREL was appended."""

    session: str
    packet_id: int


class Reset(msgspec.Struct, frozen=True, gc=False):
    """The session was cleared."""

    session: str


Effect = Opened | Released | Reset


class Handshakes:
    """The open hand-shakes of one lane: a fold over its records."""

    def __init__(self) -> None:
        self.open: dict[str, set[int]] = {}
        """Packet identifiers by session."""

    def apply(self, effect: object) -> None:
        if isinstance(effect, Opened):
            self.open.setdefault(effect.session, set()).add(effect.packet_id)
        elif isinstance(effect, Released):
            self._release(effect.session, effect.packet_id)
        elif isinstance(effect, Reset):
            self.open.pop(effect.session, None)

    def checkpoint(self) -> bytes:
        return msgspec.msgpack.encode(self.open)

    def restore(self, payload: bytes) -> None:
        self.open = msgspec.msgpack.decode(payload, type=dict[str, set[int]])

    def replay(self, record: Record) -> None:
        if record.kind in _OPENING and record.qos == 2:
            self.apply(Opened(_session_of(record), record.packet_id))
        elif record.kind == RELEASE:
            self._release(_session_of(record), record.packet_id)
        elif record.kind == RESET:
            self.open.pop(_session_of(record), None)

    def _release(self, session: str, packet_id: int) -> None:
        ids = self.open.get(session)
        if ids is not None:
            ids.discard(packet_id)
            if not ids:
                del self.open[session]


def _session_of(record: Record) -> str:
    device = decode_context(record.context)[0]
    named = (value.decode() for name, value in decode_headers(record.headers) if name == CLIENT_ID)
    return session_name(device, next(named, device))
