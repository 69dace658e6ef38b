"""Judge: which documents of a write go out, which are left out, and of which the device side has to hear. No I/O.

Of several documents of one device in one write only the last goes out, so that a device that changes all the time costs
one record a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

import msgspec

from bridge.bus_side.claims import Claims
from bridge.bus_side.known import Known
from bridge.bus_side.sink import LaneBatch
from bridge.bus_side.sketch import Sketch, Verdict, sketch_of, verdict, without_ground
from bridge.log.record import DOCUMENT, EVENT, GATEWAYS, TOMBSTONE, Record, RecordError, decode_context, encode_context

SUPERSEDED: Final = "document-superseded"
"""Type of the event that keeps what a device reported here while it was known elsewhere already."""


class Judge:
    """Of one gateway; `settle` for each write, then `asked`."""

    def __init__(
        self, known: Known, *, gateway: str, former: str | None, event_topic: str, instant: Callable[[float], str]
    ) -> None:
        """Args:
        known: what the topic has.
        gateway: our id.
        former: our id before it was changed.
        event_topic: hears of reports that a newer connection elsewhere has overtaken.
        instant: the time so many seconds ago, RFC 3339 in UTC with milliseconds.
        """
        self.asked: dict[str, None] = {}
        """Devices (or this gateway's own key) of which the device side has to hear what the topic has."""
        self.alive: LaneBatch | None = None
        """The one of the batches of the last `settle` that has this gateway's own record."""
        self.superseded = 0
        """Of the last `settle`: documents with reports that a newer connection elsewhere has overtaken."""
        self._known = known
        self._gateway = gateway
        self.names = frozenset({gateway, former or gateway})
        """Our own: whoever is alive enough to ask is not dead."""
        self._event_topic = event_topic
        self._instant = instant
        self._started = ""
        """Of the life of ours whose first word has been heard."""

    def settle(self, batches: Sequence[LaneBatch]) -> list[LaneBatch]:
        """The batches with what goes out, and what that claims of the topic."""
        self.asked, self.alive, self.superseded = {}, None, 0
        return [self._settle(batch) for batch in batches]

    def _settle(self, batch: LaneBatch) -> LaneBatch:
        keys = {record.seq: _key(record) for record in batch.records if record.kind == DOCUMENT}
        if not keys:
            return batch
        last = {key: seq for seq, key in keys.items()}
        claims = Claims(self._known.topic, self._known.looked, {})
        settled = LaneBatch(batch.lane, [], batch.position, batch.bytes, (claims,))
        for record in batch.records:
            key = keys.get(record.seq, "")
            if not key or record.flags & TOMBSTONE:
                settled.records.append(record)
            elif last[key] == record.seq and key.startswith(GATEWAYS):
                self._judge_life(key, record, settled, claims, last)
            elif last[key] == record.seq:
                self._judge(key, record, settled, claims)
        return settled

    def _judge(self, device: str, record: Record, into: LaneBatch, claims: Claims) -> None:
        own = sketch_of(record.payload)
        entry = self._known.entry(device)
        theirs = entry.sketch if entry is not None else Sketch()
        decided = verdict(own, theirs, self.names)
        if decided is Verdict.SEND:
            into.records.append(msgspec.structs.replace(record, payload=without_ground(record.payload)))
            claims.refuted[device.encode()] = partial(_refutes, own, self.names)
        elif decided is not Verdict.LEAVE:
            self.asked[device] = None
        if decided is Verdict.OVERTAKEN and own.reports:
            self.superseded += 1
            into.records.append(self._superseded(device, record, theirs))

    def _judge_life(self, key: str, record: Record, into: LaneBatch, claims: Claims, said: Collection[str]) -> None:
        """Our own record. A life that does not know of a later one (its disk is new, or old) is told so first."""
        own, former = sketch_of(record.payload), self._known.gateways.get(self._gateway)
        if former is not None and _is_later_life(former, own):
            self.asked[key] = None
            return
        if own.started != self._started:
            self._started = own.started
            self.asked |= dict.fromkeys(device for device in self._known.present(self.names) if device not in said)
        self.alive = into
        into.records.append(record)
        claims.refuted[key.encode()] = lambda value: value is not None and _is_later_life(sketch_of(value), own)

    def _superseded(self, device: str, record: Record, theirs: Sketch) -> Record:
        event = {
            "type": SUPERSEDED, "at": self._instant(0), "gateway": self._gateway, "device": device,
            "by": theirs.gateway, "document": msgspec.Raw(without_ground(record.payload)),
        }  # fmt: skip
        context = encode_context(device, "", self._event_topic)
        return msgspec.structs.replace(record, kind=EVENT, context=context, payload=msgspec.json.encode(event))


def _refutes(own: Sketch, names: Collection[str], value: bytes | None) -> bool:
    """Whether a document of ours would not have been sent as it is, had this been known; None: a tombstone."""
    return value is None or verdict(own, sketch_of(value), names) is not Verdict.SEND


def _is_later_life(other: Sketch, own: Sketch) -> bool:
    """Of two of this gateway's own records: not of the same life, and no earlier one."""
    return other.started != own.started and other.epoch >= own.epoch


def _key(record: Record) -> str:
    """Empty where the record is damaged: then it is a dead letter anyway."""
    try:
        return decode_context(record.context)[0]
    except RecordError:
        return ""
