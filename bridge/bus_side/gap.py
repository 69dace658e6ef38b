"""Gap: the event that says which records are lost, so that no loss is silent."""

from __future__ import annotations

import datetime

import msgspec

from bridge.log.dropped import Dropped
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
    gap = Gap(gateway, lane, lost.start, lost.stop - 1, len(lost), reason, rfc3339(wall_ns))
    return _record(gateway, topic, gap, wall_ns)


def drop_records(gateway: str, topic: str, lane: str, dropped: Dropped, wall_ns: int) -> list[Record]:
    """Events for the Kafka topic `topic`: one for each device and route of what was dropped, keyed by the device."""
    return [
        _record(
            stream.device or gateway,
            topic,
            Gap(
                gateway,
                lane,
                stream.first_seq,
                stream.last_seq,
                stream.count,
                dropped.reason,
                rfc3339(wall_ns),
                stream.device,
                stream.target,
                None if stream.from_ns is None else rfc3339(stream.from_ns),
                None if stream.to_ns is None else rfc3339(stream.to_ns),
            ),
            wall_ns,
        )
        for stream in dropped.streams
    ]


def _record(key: str, topic: str, gap: Gap, wall_ns: int) -> Record:
    context = encode_context(key, "", topic)
    return Record(gap.first_seq, EVENT, 0, 0, wall_ns, 0, _NO_BOOT, context, b"", msgspec.json.encode(gap))


def rfc3339(wall_ns: int) -> str:
    """Unix nanoseconds as RFC 3339 in UTC with milliseconds."""
    moment = datetime.datetime.fromtimestamp(wall_ns / 1e9, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
