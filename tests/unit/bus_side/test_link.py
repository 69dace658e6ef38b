"""What the journal is told of the way to the sink: each change once, each cause once, when a backlog will be gone."""

from __future__ import annotations

import asyncio
import logging

import pytest

from bridge.bus_side.bell import Bell
from bridge.bus_side.link import Link
from bridge.bus_side.sink import LaneBatch, Written
from bridge.log import doorbell
from bridge.log.doorbell import Doorbell


@pytest.fixture
def link(caplog):
    caplog.set_level(logging.INFO)
    mine, theirs = doorbell.pair()
    yield Link("Kafka", Bell(Doorbell(theirs), asyncio.Event()), lambda: 5.0)
    mine.close()
    theirs.close()


def lines(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_each_change_and_each_cause_is_one_line(link, caplog):
    for _ in range(3):
        link.away("10.0.0.1:9093: nobody listens there")
        link.away("10.0.0.2:9094: nobody listens there")
    for _ in range(3):
        link.away("10.0.0.1:9093: it refused our log-in")
        link.away("10.0.0.1:9093: nobody listens there")
    link.connected()
    link.connected()
    link.away("10.0.0.1:9093: it refused our log-in")
    again = "Kafka is away, the queue grows and it is tried again: 10.0.0.1:9093: "
    assert lines(caplog) == [
        ("WARNING", again + "nobody listens there"),
        ("WARNING", "Kafka is still away, now for another reason: 10.0.0.1:9093: it refused our log-in"),
        ("INFO", "Kafka is connected"),
        ("WARNING", again + "it refused our log-in"),
    ]


def test_causes_without_end_are_not_told_without_end(link, caplog):
    for number in range(40):
        link.away("cause " + "x" * number)
    assert 2 < len(caplog.records) < 20


def test_a_backlog_is_announced_and_its_end_told(link, caplog):
    link.connected()
    caplog.clear()
    left = 100_000
    for second in range(30):
        link.measure(float(second), {"normal": (left, left * 1000)})
        sent = min(left, 5_000)
        link.wrote([LaneBatch("normal", [], 0, sent * 1000)], Written({"normal": sent}))
        left -= sent
    assert lines(caplog) == [
        ("INFO", "catching up: 95,000 records (about 91 MiB) wait; done in about 19 s"),
        ("INFO", "caught up: 90,000 records in 18 s"),
    ]
