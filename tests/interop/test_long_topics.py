"""Topics as long and as deep as they may be: delivered here, forwarded where a record holds them, else refused."""

from __future__ import annotations

import pytest

from bridge.log.record import MESSAGE, decode_context
from tests.interop.gateway import Gateway
from tests.interop.wire import DISCONNECT, PUBACK, Wire

LONGEST, MOST_LEVELS = 65_535, 200
INVALID, QUOTA = 0x90, 0x97


def long_topic(beginning: str, size: int = LONGEST) -> str:
    return beginning + "x" * (size - len(beginning))


@pytest.mark.parametrize("version", [4, 5])
def test_the_longest_and_the_deepest_topic(broker: Gateway, version: int) -> None:
    own = f"devices/long-{version}"
    for topic in (long_topic(f"{own}/local/"), f"{own}{'/a' * (MOST_LEVELS - 2)}"):
        with Wire(broker.port, f"long-{version}", version=version) as wire:
            wire.connected()
            assert wire.subscribe(topic) == 0
            for payload in (b"1", b"2"):
                wire.publish(topic, payload)
                kinds = {wire.receive()[0] for _ in range(2)}
                assert kinds == {0x30, PUBACK}


def test_one_level_too_many_is_refused(broker: Gateway) -> None:
    with Wire(broker.port, "deep", version=5) as wire:
        wire.connected()
        wire.publish("devices/deep" + "/a" * (MOST_LEVELS - 1), b"x")
        kind, body = wire.receive()
        assert (kind, body[0]) == (DISCONNECT, INVALID)


def test_a_long_topic_is_forwarded_if_a_record_holds_it(broker: Gateway) -> None:
    """It has to hold the device's id and the Kafka topic too."""
    beginning = "devices/far/telemetry/"
    with Wire(broker.port, "far", version=5) as wire:
        wire.connected()
        for size, reason in ((LONGEST, INVALID), (65_000, 0), (LONGEST, INVALID), (64, 0)):
            wire.publish(long_topic(beginning, size), b"x")
            kind, body = wire.receive()
            assert (kind, body[2] if len(body) > 2 else 0) == (PUBACK, reason), size
    contexts = [decode_context(record.context) for record in broker.records() if record.kind == MESSAGE]
    assert [len(topic) for device, topic, _ in contexts if device == "far"] == [65_000, 64]


def test_long_filters_are_bounded_by_their_bytes(broker: Gateway) -> None:
    """512 KiB of them, whatever their number may be."""
    with Wire(broker.port, "many", version=5) as wire:
        wire.connected()
        answers = [wire.subscribe(long_topic(f"devices/many/{number}/")) for number in range(10)]
        assert answers == [0] * 8 + [QUOTA] * 2
        assert wire.subscribe(long_topic("devices/many/0/"), 1) == 1, "one that is there may be changed"
