"""Refusals: what Kafka has refused for good, and so where the next try puts it.

A refused batch fails its whole transaction. If it held one record, that record is a dead letter from then on; if it
held more, batches for its topic become half as large, until the one at fault is alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec
from aiokafka import errors

from bridge.bus_side.refusal import Refusal
from bridge.bus_side.sink import LaneBatch


class InvalidRecord(errors.BrokerResponseError):
    """Error 87 of Kafka's protocol (KIP-467), which aiokafka 0.14 does not know."""

    errno = 87
    message = "INVALID_RECORD"
    description = "The broker's validation of the record failed, for example: a compacted topic wants a key."


def know_invalid_records() -> None:
    """Teaches aiokafka the error; an unknown one would be tried again for ever. Called by the composition root."""
    errors.kafka_errors[InvalidRecord.errno] = InvalidRecord


_OF_RECORDS: Final = {
    errors.MessageSizeTooLargeError: "record-too-large",
    errors.RecordListTooLargeError: "record-too-large",
    errors.InvalidTimestampError: "invalid-timestamp",
    errors.PolicyViolationError: "policy-violation",
    InvalidRecord: "invalid-record",
}
_OF_TOPICS: Final = {errors.TopicAuthorizationFailedError: "not-authorised", errors.InvalidTopicError: "unknown-topic"}


PARTS_MAX: Final = 64
"""Into more dead letters no record is cut."""


class BatchRefused(Exception):
    """Kafka will not take a batch, however often it is sent."""

    def __init__(self, topic: str, refusal: Refusal, *, count: int, size: int, lane: str, seq: int) -> None:
        super().__init__(f"topic {topic}: {refusal.detail}")
        self.topic = topic
        self.refusal = refusal
        self.count = count
        """Records in the batch."""
        self.size = size
        """Of the batch before compression, bytes."""
        self.lane = lane
        self.seq = seq
        """Of the batch's first record."""


class Refusals:
    """Outlives the producers: each failed transaction costs one of them."""

    def __init__(self, dead_letter_topic: str, batch_bytes: int, retry_s: float) -> None:
        self._dead_letter_topic = dead_letter_topic
        self._batch_bytes = batch_bytes
        self._retry_s = retry_s
        self._topics: dict[str, tuple[Refusal, float]] = {}
        self._records: dict[str, dict[int, Refusal]] = {}
        self._reasons: dict[tuple[str, int], Refusal] = {}
        self._limits: dict[str, int] = {}
        self._searching: set[str] = set()

    def of_topic(self, name: str) -> Refusal | None:
        """Why nothing can be written to the topic; None if it can, or may be tried again."""
        found = self._topics.get(name)
        return found[0] if found is not None and found[1] > time.monotonic() else None

    def of_lane(self, lane: str) -> dict[int, Refusal]:
        """By sequence number, the records of this lane that are dead letters."""
        return self._records.get(lane, {})

    def batch_bytes(self, topic: str) -> int:
        """How large a batch for the topic may be, before compression."""
        return self._limits.get(topic, self._batch_bytes)

    def buried(self, lane: str, seq: int, refusal: Refusal) -> None:
        """A dead letter of this record is on its way: if that is refused, this is why it is one."""
        self._reasons[lane, seq] = refusal

    def refuse_topic(self, name: str, refusal: Refusal) -> None:
        """Everything for the topic is a dead letter for a while."""
        self._topics[name] = (refusal, time.monotonic() + self._retry_s)

    def expired(self) -> bool:
        """True if a topic may be tried again; asked once per topic."""
        now = time.monotonic()
        over = [name for name, (_, until) in self._topics.items() if until <= now]
        for name in over:
            del self._topics[name]
        return bool(over)

    def learn(self, refused: BatchRefused) -> None:
        """So that the next try goes better."""
        if refused.refusal.error in _OF_TOPICS.values():
            self.refuse_topic(refused.topic, refused.refusal)
        elif refused.count == 1:
            self._learn_record(refused, self._records.setdefault(refused.lane, {}))
        else:
            self._limits[refused.topic] = refused.size // 2
            if refused.refusal.error != "record-too-large":
                self._searching.add(refused.topic)

    def _learn_record(self, refused: BatchRefused, known: dict[int, Refusal]) -> None:
        if refused.topic != self._dead_letter_topic:
            known.setdefault(refused.seq, refused.refusal)
            return
        reason = self._reasons.get((refused.lane, refused.seq), refused.refusal)
        refusal = known.get(refused.seq, reason)
        if refused.refusal.error == "record-too-large" and refusal.parts < PARTS_MAX:
            known[refused.seq] = msgspec.structs.replace(refusal, parts=refusal.parts * 2)
        else:
            known[refused.seq] = msgspec.structs.replace(refusal, not_taken=refused.refusal.detail)

    def forget(self, batches: Sequence[LaneBatch]) -> None:
        """These were written: what was known of single records behind their positions is of no use any more."""
        for topic in self._searching:
            del self._limits[topic]
        self._searching.clear()
        self._reasons.clear()
        for batch in batches:
            for seq in [seq for seq in self._records.get(batch.lane, ()) if seq < batch.position]:
                del self._records[batch.lane][seq]


def refusal_of(error: BaseException, topic: str, partition: int) -> Refusal | None:
    """What the error says about the records; None if it is no refusal for good."""
    for kinds in (_OF_RECORDS, _OF_TOPICS):
        for kind, name in kinds.items():
            if isinstance(error, kind):
                return Refusal(name, f"{error.message}: {error.description}", partition)
    return None
