"""The simplest possible audit: what a feed wrote against what a reader found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from confluent_kafka import Message


def numbers_by_device(messages: Sequence[Message]) -> dict[str, list[int]]:
    """What each device's records say, in the order in which a reader finds them."""
    found: dict[str, list[int]] = {}
    for message in messages:
        value = json.loads(message.value())
        assert message.key().decode() == value["device"]
        found.setdefault(value["device"], []).append(value["n"])
    return found


def exactly_once_in_order(messages: Sequence[Message], written: Mapping[str, int]) -> bool:
    """Every number of every device, once and rising."""
    return numbers_by_device(messages) == {device: list(range(1, last + 1)) for device, last in written.items()}
