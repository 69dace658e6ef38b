"""Letter: a record that neither its topic nor the dead-letter topic takes, as the gateway's own dead-letter log has it.

The record stands in it whole, byte for byte as the queue had it (one that cannot be decoded is a dead letter, too), and
beside it why, and where it came from. Byte by byte: docs/queue-format.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

from bridge.bus_side.gap import rfc3339
from bridge.bus_side.refusal import Refusal
from bridge.bus_side.sink import LaneBatch
from bridge.log.record import (
    EVENT,
    LETTER,
    Record,
    RecordError,
    decode,
    decode_context,
    decode_headers,
    encode,
    encode_context,
    encode_headers,
)

DIRECTORY: Final = "dead-letters"
"""Below the data directory."""
_DETAIL_MAX: Final = 1000
"""Characters of the broker's own words that are kept."""
_NO_BOOT: Final = bytes(16)


class Letter(msgspec.Struct, frozen=True, gc=False):
    """One record and why it is here."""

    gateway: str
    lane: str
    log_id: bytes
    """16 bytes, of the queue that the record was in."""
    record: Record
    topic: str
    """The Kafka topic it was meant for; empty: nobody can know."""
    refusal: Refusal
    not_taken: str
    """Why the dead-letter topic has it not, in plain words."""

    @property
    def mark(self) -> tuple[bytes, str, int]:
        """What tells it from every other: log, lane and sequence number."""
        return self.log_id, self.lane, self.record.seq


class LetterBox(Protocol):
    """Where letters stay."""

    def holds(self, log_id: bytes, lane: str, seq: int) -> bool:
        """Whether the record is here already, and its position has not been passed yet."""

    async def keep(self, letters: Sequence[Letter]) -> list[tuple[str, Record]]:
        """Makes them durable; one that is so already is not written again.

        Returns: by lane, the events that tell of them, to go out with the positions behind their records.

        Raises:
            NotKept: they are not durable, so the records must stay where they are.
        """

    def forget(self, batches: Sequence[LaneBatch]) -> None:
        """The positions of these are passed: their records do not come again."""


class NotKept(Exception):
    """Letters are not durable. The text is for people."""


class LettersKept(msgspec.Struct, tag_field="type", tag="dead-letters-kept"):
    """The value of the event that tells of them."""

    gateway: str
    lane: str
    route: str
    """The Kafka topic they were meant for."""
    first_seq: int
    last_seq: int
    count: int
    error: str
    detail: str
    reason: str
    """Why the dead-letter topic has them not."""
    at: str
    """RFC 3339, UTC, milliseconds."""


def encode_letter(letter: Letter, wall_ns: int) -> bytes:
    """The record of the dead-letter log. `wall_ns`: now, Unix nanoseconds."""
    record, refusal = letter.record, letter.refusal
    headers = [
        ("gateway", letter.gateway.encode()),
        ("lane", letter.lane.encode()),
        ("log", letter.log_id.hex().encode()),
        ("seq", b"%d" % record.seq),
        ("boot", record.boot),
        ("error", refusal.error.encode()),
        ("error-detail", refusal.detail[:_DETAIL_MAX].encode()),
        ("original-topic", letter.topic.encode()),
        ("original-partition", b"" if refusal.partition is None else b"%d" % refusal.partition),
        ("not-taken", letter.not_taken[:_DETAIL_MAX].encode()),
    ]
    whole = encode(
        record.kind, record.flags, record.packet_id, record.wall_ns, record.mono_ns, record.context, record.headers,
        record.payload,
    )  # fmt: skip
    return encode(LETTER, 0, 0, wall_ns, 0, _context(letter), encode_headers(headers), whole)


def decode_letter(record: Record) -> Letter:
    """What `encode_letter` wrote. Raises RecordError: it is no letter."""
    if record.kind != LETTER:
        raise RecordError(f"a record of kind {record.kind} is no dead letter")
    told = dict(decode_headers(record.headers))
    try:
        words = {name: value.decode() for name, value in told.items() if name != "boot"}
        partition = int(words["original-partition"]) if words["original-partition"] else None
        whole = decode(record.payload, int(words["seq"]), told["boot"])
        refusal = Refusal(words["error"], words["error-detail"], partition)
        log_id = bytes.fromhex(words["log"])
        return Letter(
            words["gateway"], words["lane"], log_id, whole, words["original-topic"], refusal, words["not-taken"]
        )
    except (KeyError, ValueError) as error:
        raise RecordError(f"no dead letter: {error}") from error


def kept_events(topic: str, letters: Iterable[Letter], wall_ns: int) -> list[tuple[str, Record]]:
    """By lane, the events for the Kafka topic `topic` that tell of these letters: one for each topic and reason."""
    told: dict[tuple[str, str, str, str], LettersKept] = {}
    for letter in letters:
        refusal, seq = letter.refusal, letter.record.seq
        event = told.setdefault(
            (letter.lane, letter.topic, refusal.error, letter.not_taken),
            LettersKept(
                letter.gateway, letter.lane, letter.topic, seq, seq, 0, refusal.error, refusal.detail[:_DETAIL_MAX],
                letter.not_taken[:_DETAIL_MAX], rfc3339(wall_ns),
            ),
        )  # fmt: skip
        event.last_seq, event.count = seq, event.count + 1
    return [(event.lane, _event(encode_context(event.gateway, "", topic), event, wall_ns)) for event in told.values()]


def _event(context: bytes, event: LettersKept, wall_ns: int) -> Record:
    return Record(event.first_seq, EVENT, 0, 0, wall_ns, 0, _NO_BOOT, context, b"", msgspec.json.encode(event))


def _context(letter: Letter) -> bytes:
    """The record's own, so that whoever counts by device and topic can; one that can be read in any case."""
    try:
        decode_context(letter.record.context)
    except RecordError:
        return encode_context("", "", letter.topic)
    return letter.record.context
