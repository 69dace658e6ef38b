"""The stage before Kafka that compares documents with what the state topic has: what it holds up, and what not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import pytest

from bridge.bus_side.judge import Judge
from bridge.bus_side.known import News
from bridge.bus_side.settled import Settled
from bridge.bus_side.sink import LaneBatch, SinkRefused, Written
from bridge.bus_side.sketch import Sketch
from bridge.log.record import DOCUMENT, MESSAGE, Record, decode, encode, encode_context


class ClosedTopic:
    """What the state topic has, as who may not read it knows it."""

    topic = "device-state"

    def __init__(self) -> None:
        self.gateways: dict[str, Sketch] = {}
        self.devices: dict[str, object] = {}
        self.open = False

    async def refresh(self) -> None:
        if not self.open:
            raise SinkRefused("this gateway may not read the topic")

    def news(self) -> list[News]:
        return []

    async def fetch(self, keys: Iterable[str]) -> dict[str, bytes]:
        assert not list(keys)
        return {}

    def outlived(self, before: str, but: Collection[str] = ()) -> list[str]:
        return []

    async def close(self) -> None:
        return None


class Kept:
    """A sink that keeps what it gets."""

    holds_positions = True

    def __init__(self) -> None:
        self.lanes: list[str] = []

    async def start(self, lanes: Sequence[str], log_id: bytes) -> dict[str, int]:
        return {}

    async def write(self, batches: Sequence[LaneBatch]) -> Written:
        self.lanes += [batch.lane for batch in batches]
        return Written({batch.lane: len(batch.records) for batch in batches})

    async def probe(self) -> None:
        return None

    async def stop(self) -> None:
        return None


def batch(lane: str, kind: int) -> LaneBatch:
    context = encode_context("dev-1", "t", "topic")
    record: Record = decode(encode(kind, 0, 0, 1, 1, context, b"", b'{"device":"dev-1"}'), 1, bytes(16))
    return LaneBatch(lane, [record], 2)


async def test_a_state_topic_that_cannot_be_read_holds_documents_up_and_nothing_else() -> None:
    async def tell(records: list[bytes]) -> None:
        assert not records

    topic, sink = ClosedTopic(), Kept()
    judge = Judge(topic, gateway="gw", former=None, event_topic="events", instant=lambda _: "")
    settled = Settled(sink, topic, judge, tell, instant=lambda _: "", sweep_margin_s=None)
    with pytest.raises(SinkRefused):
        await settled.write([batch("normal", MESSAGE), batch("state", DOCUMENT), batch("alarm", MESSAGE)])
    assert sink.lanes == ["normal", "alarm"]
    with pytest.raises(SinkRefused):
        await settled.write([batch("state", DOCUMENT)])
    assert sink.lanes == ["normal", "alarm"]
    await settled.write([batch("normal", MESSAGE)])
    topic.open = True
    await settled.write([batch("state", DOCUMENT), batch("normal", MESSAGE)])
    assert sink.lanes == ["normal", "alarm", "normal", "state", "normal"]
