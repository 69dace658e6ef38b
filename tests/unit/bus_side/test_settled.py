"""The stage before Kafka that compares documents with what the state topic has: what it holds up, and what not."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence

import pytest

from bridge.bus_side.judge import Judge
from bridge.bus_side.known import News
from bridge.bus_side.settled import Settled
from bridge.bus_side.sink import LaneBatch, SinkContested, SinkRefused, Written
from bridge.bus_side.sketch import Sketch
from bridge.log.record import DOCUMENT, EVENT, MESSAGE, Record, decode, decode_context, encode, encode_context


class ClosedTopic:
    """What the state topic has, as who may not read it knows it."""

    topic = "device-state"

    def __init__(self) -> None:
        self.gateways: dict[str, Sketch] = {}
        self.looked: dict[int, int] = {}
        self.open = False

    async def refresh(self) -> None:
        if not self.open:
            raise SinkRefused("this gateway may not read the topic")

    def entry(self, key: str) -> None:
        return None

    def has(self, places: Mapping[int, int]) -> bool:
        return all(self.looked.get(partition, 0) > offset for partition, offset in places.items())

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


async def test_documents_that_are_contested_are_given_back_and_the_rest_goes_out_alone() -> None:
    class Contested(Kept):
        """Where documents are among it, somebody else has always been quicker."""

        tries = 0

        async def write(self, batches: Sequence[LaneBatch]) -> Written:
            if any(batch.claims for batch in batches):
                self.tries += 1
                raise SinkContested({0: 7})
            return await super().write(batches)

    async def tell(records: list[bytes]) -> None:
        assert not records

    pauses: list[int] = []

    async def pause() -> None:
        pauses.append(topic.looked.setdefault(0, 8))  # whatever it was, it is decided

    topic, sink = ClosedTopic(), Contested()
    topic.open = True
    judge = Judge(topic, gateway="gw", former=None, event_topic="events", instant=lambda _: "")
    settled = Settled(sink, topic, judge, tell, pause=pause, patience_s=0.05, instant=lambda _: "", sweep_margin_s=None)
    batches = [batch("normal", MESSAGE), batch("state", DOCUMENT)]
    written = await settled.write(batches)
    assert (written.held, written.contested, written.records) == ({"state"}, 3, {"normal": 1})
    assert (sink.tries, len(pauses), sink.lanes) == (3, 3, ["normal"])
    topic.looked.clear()  # it is still open: not even tried
    assert (await settled.write(batches)).held == {"state"}
    assert (sink.tries, sink.lanes) == (3, ["normal", "normal"])


async def test_a_device_that_came_here_is_not_swept_in_the_same_write() -> None:
    class Outlived(ClosedTopic):
        """Two devices of a gateway that is dead."""

        def outlived(self, before: str, but: Collection[str] = ()) -> list[str]:
            return ["dev-1", "dev-2"]

        async def fetch(self, keys: Iterable[str]) -> dict[str, bytes]:
            return {key: b'{"device":"%s","presence":{"since":"then"}}' % key.encode() for key in keys}

    async def pause() -> None:
        pytest.fail("nobody contests anything")

    async def tell(records: list[bytes]) -> None:
        return None

    class Looking(Kept):
        async def write(self, batches: Sequence[LaneBatch]) -> Written:
            said.extend((decode_context(each.context)[0], each.kind) for each in batches[0].records)
            claimed.extend(batches[0].claims[0].refuted)
            return await super().write(batches)

    said: list[tuple[str, int]] = []
    claimed: list[bytes] = []
    topic = Outlived()
    topic.open = True
    judge = Judge(topic, gateway="gw", former=None, event_topic="events", instant=lambda _: "")
    settled = Settled(
        Looking(), topic, judge, tell, pause=pause, patience_s=0.05, instant=lambda _: "", sweep_margin_s=0.0
    )
    own = batch("state", DOCUMENT)
    context = encode_context("gateway/gw", "", "topic")
    own.records.append(decode(encode(DOCUMENT, 0, 0, 1, 1, context, b"", b'{"epoch":1}'), 2, bytes(16)))
    await settled.write([own])
    assert said == [("dev-1", DOCUMENT), ("gateway/gw", DOCUMENT), ("dev-2", EVENT)]
    assert claimed == [b"dev-1", b"gateway/gw", b"dev-2"]


async def test_a_look_that_takes_its_time_holds_documents_up_and_nothing_else() -> None:
    class Long(ClosedTopic):
        async def refresh(self) -> None:
            await read.wait()

    async def pause() -> None:
        pytest.fail("nobody contests anything")

    async def tell(records: list[bytes]) -> None:
        assert not records

    read, topic, sink = asyncio.Event(), Long(), Kept()
    judge = Judge(topic, gateway="gw", former=None, event_topic="events", instant=lambda _: "")
    settled = Settled(sink, topic, judge, tell, pause=pause, patience_s=0.01, instant=lambda _: "", sweep_margin_s=None)
    batches = [batch("normal", MESSAGE), batch("state", DOCUMENT)]
    for _ in range(2):
        assert (await settled.write(batches)).held == {"state"}
    assert sink.lanes == ["normal", "normal"]
    read.set()
    assert not (await settled.write(batches)).held
    assert sink.lanes == ["normal"] * 3 + ["state"]
    read.clear()
    assert (await settled.write(batches)).held == {"state"}
    await settled.stop()


async def test_a_state_topic_that_cannot_be_read_holds_documents_up_and_nothing_else() -> None:
    async def tell(records: list[bytes]) -> None:
        assert not records

    async def pause() -> None:
        pytest.fail("nobody contests anything")

    topic, sink = ClosedTopic(), Kept()
    judge = Judge(topic, gateway="gw", former=None, event_topic="events", instant=lambda _: "")
    settled = Settled(sink, topic, judge, tell, pause=pause, patience_s=0.05, instant=lambda _: "", sweep_margin_s=None)
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
