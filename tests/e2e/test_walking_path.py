"""A message's whole way while all on it is killed: nothing acknowledged is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.log.errors import LogDamaged
from bridge.log.reader import LogReader
from bridge.log.record import MESSAGE, Record, decode_context, decode_headers
from bridge.security.envelope import Opener
from bridge.security.keys import load_private
from firmware_sim import payload
from tests.e2e.walk import ASLEEP_AT_THE_END, AWAY, DEVICES, KILLS, MARKER, THERE, WANTED, Outcome, make_topics, walk
from tests.support.effort import seed
from tests.support.kafka import Broker


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """One walk for all that is to be seen of it; BUSBRIDGE_SEED repeats one."""
    directory = tmp_path_factory.mktemp("walk")
    chance = seed(random.randrange(1 << 32))
    print(f"BUSBRIDGE_SEED={chance}")
    broker = Broker(directory / "kafka")
    broker.start()
    make_topics(broker.address)
    try:
        yield asyncio.run(walk(directory, broker, chance))
    finally:
        if broker.running:
            broker.thaw()
            broker.kill()


def test_it_was_a_walk_worth_the_name(outcome: Outcome) -> None:
    assert outcome.starts > KILLS // 3 * 2
    assert outcome.figures.connections > len(DEVICES) * KILLS // 3
    assert outcome.findings.published > 10_000


def test_every_acknowledged_message_is_there_once_and_in_order(outcome: Outcome) -> None:
    found = outcome.findings
    assert found.acknowledged == found.published == outcome.figures.offered
    assert found.clean, f"{found.wrongs()}\n{outcome.complaints}"
    assert found.arrived == found.published


def test_the_documents_agree_with_the_devices(outcome: Outcome) -> None:
    found = outcome.findings
    assert (found.documents, found.documents_wrong.count) == (len(DEVICES), 0), found.documents_wrong.examples
    for name in ASLEEP_AT_THE_END:
        presence = outcome.documents[name]["presence"]
        assert (presence["state"], presence["reason"]) == ("offline", "disconnected")


def test_a_desired_state_reached_its_device_there_or_away(outcome: Outcome) -> None:
    for name in (THERE, AWAY):
        truth, document = outcome.ledger.truths[name], outcome.documents[name]
        assert truth.desired == {"version": 4, "state": WANTED}
        assert document["desired"]["state"] == WANTED
        assert document["delta"] == {}


def test_nothing_planted_is_found_in_topic_files_or_log(outcome: Outcome) -> None:
    planted = MARKER.encode()
    assert all(record.sealed for record in outcome.records)
    assert not any(planted in (record.value or b"") for record in outcome.records)
    files = [path for path in outcome.gateway.data.rglob("*") if path.is_file()]
    assert any(path.suffix == ".seg" for path in files)
    for path in [*files, outcome.output]:
        assert planted not in path.read_bytes(), path


def test_what_is_left_in_the_segments_opens_with_the_recipients_key(outcome: Outcome) -> None:
    opener = Opener([load_private(outcome.gateway.key)])
    opened = [_open(opener, record) for record in _records_left(outcome.gateway.data / "uplink" / "normal")]
    assert opened
    assert all(MARKER.encode() in content and payload.decode(content) is not None for content in opened)


def _records_left(lane: Path) -> list[Record]:
    """All that can be read; where the log ends, a reader that is told there is more finds damage."""
    reader, records = LogReader(lane), list[Record]()
    try:
        while True:
            records += reader.read(1 << 62, 1000, 1 << 20)
    except LogDamaged:
        return [record for record in records if record.kind == MESSAGE]


def _open(opener: Opener, record: Record) -> bytes:
    device, topic, _ = decode_context(record.context)
    return opener.open(dict(decode_headers(record.headers)), device, topic, record.seq, record.payload)
