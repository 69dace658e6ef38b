"""Dead letters: a record that Kafka will never take, as it goes to the dead-letter topic with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bridge.bus_side.cloud_event import Header
from bridge.bus_side.refusal import Refusal

NO_TIMESTAMP: Final = -1
"""Kafka does not check a time that is not there: where it refused a record's time, it would refuse the letter's too."""


def letters_of(
    headers: list[Header], topic: str, value: bytes, refusal: Refusal
) -> Iterator[tuple[list[Header], bytes]]:
    """Headers and value of each dead letter for one record: one, unless its value had to be cut (header `part`)."""
    partition = "" if refusal.partition is None else str(refusal.partition)
    reason: list[Header] = [
        ("error", refusal.error.encode()),
        ("error-detail", refusal.detail.encode()),
        ("original-topic", topic.encode()),
        ("original-partition", partition.encode()),
    ]
    if refusal.parts == 1:
        yield [*headers, *reason], value
        return
    size = -(-len(value) // refusal.parts)
    for part in range(refusal.parts):
        mark = ("part", b"%d/%d" % (part + 1, refusal.parts))
        yield [*headers, *reason, mark], value[part * size : (part + 1) * size]
