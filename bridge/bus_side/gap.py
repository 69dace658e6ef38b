"""Gap: the event that says which records are lost, so that no loss is silent."""

from __future__ import annotations

import datetime

import msgspec

from bridge.log.record import EVENT, Record, encode_context

_NO_BOOT = bytes(16)


class Gap(msgspec.Struct, tag_field="type", tag="gap", rename={"from_": "from"}):
    """The event's value. What nobody can know of records that cannot be read is null."""

    gateway: str
    lane: str
    first_seq: int
    last_seq: int
    count: int
    reason: str
    at: str
    """When it was found: RFC 3339, UTC, milliseconds."""
    device: str | None = None
    route: str | None = None
    from_: str | None = None
    to: str | None = None


def gap_record(gateway: str, topic: str, lane: str, lost: range, reason: str, wall_ns: int) -> Record:
    """An event for the Kafka topic `topic`, keyed by the gateway, in the place of the records that are `lost`."""
    moment = datetime.datetime.fromtimestamp(wall_ns / 1e9, datetime.UTC)
    at = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    gap = Gap(gateway, lane, lost.start, lost.stop - 1, len(lost), reason, at)
    context = encode_context(gateway, "", topic)
    return Record(lost.start, EVENT, 0, 0, wall_ns, 0, _NO_BOOT, context, b"", msgspec.json.encode(gap))
