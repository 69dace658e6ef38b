"""The messages that `./dev bench forward` forwards, the same for each program that is measured."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Final

from bridge.log.errors import LogFull
from bridge.log.record import encode_headers
from tests.support.kafka.feed import Feed, message

DEVICES: Final = 100
_SYNC_EVERY: Final = 5_000
_SAMPLE_BYTES: Final = 7


def readings(count: int, size: int) -> Iterator[tuple[str, bytes]]:
    """`count` times a device and its payload: JSON with figures that differ, filled with more of them up to `size`."""
    samples = max(0, size - 100) // _SAMPLE_BYTES
    for number in range(count):
        reading: dict[str, object] = {
            "n": number,
            "temperature": number * 7919 % 10007 / 100,
            "id": f"{number * 2654435761 % 2**32:08x}",
        }
        if samples:
            reading["samples"] = [(number * 31 + at * 7919) % 89_999 + 10_000 for at in range(samples)]
        text = json.dumps(reading, separators=(",", ":")).encode()
        yield f"dev-{number % DEVICES:05d}", text.ljust(size)


def write_backlog(feed: Feed, count: int, size: int) -> None:
    """All of them in the feed's lane, durable on return."""
    headers = encode_headers((("content-type", b"application/json"),))
    for number, (device, payload) in enumerate(readings(count, size), 1):
        _append(feed, message(device, payload, feed.topic, headers=headers))
        if number % _SYNC_EVERY == 0:
            feed.sync()
    feed.sync()


def _append(feed: Feed, record: bytes) -> None:
    """Waits for the disk, which is slower than this program: segments are written out ahead, but only a few."""
    while True:
        try:
            feed.append(record)
        except LogFull:
            feed.sync()
            time.sleep(0.01)
        else:
            return


def headers_of(device: str, number: int) -> list[tuple[str, bytes]]:
    """What the bus side puts beside such a payload, for those it is compared with."""
    return [
        ("mqtt-topic", f"devices/{device}/telemetry/t".encode()),
        ("mqtt-qos", b"1"),
        ("mqtt-retain", b"0"),
        ("gateway", b"forward-0000000000"),
        ("lane", b"normal"),
        ("log", b"00" * 16),
        ("clock", b"synchronised"),
        ("content-type", b"application/json"),
        ("seq", b"%d" % number),
    ]
