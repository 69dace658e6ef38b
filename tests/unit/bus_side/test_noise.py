"""What of aiokafka's own lines reaches the journal, and what is learnt from those that do not."""

from __future__ import annotations

import logging

import pytest
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

from bridge.bus_side.noise import Noise


def line(name, text, *arguments, error=None):
    return logging.LogRecord(name, logging.ERROR, "", 0, text, arguments, (type(error), error, None) if error else None)


@pytest.mark.parametrize(
    "record",
    [
        line("aiokafka.producer.sender", "Got error produce response: %s", "NOT_ENOUGH_REPLICAS"),
        line("aiokafka.producer.sender", "Unexpected error during InitProducerIdRequest: %s", "ClusterAuthorization"),
        line("aiokafka", "Unable connect to %s:%s: %s", "kafka", 9092, ConnectionRefusedError()),
        line("asyncio", "Exception in callback <function MessageAccumulator._pop_batch.<locals>.cb at 0x7f>"),
        line("asyncio", "Future exception was never retrieved", error=KafkaConnectionError("gone")),
    ],
    ids=lambda record: record.msg[:30],
)
def test_what_an_outage_explains_is_not_in_the_journal(record):
    assert not Noise().filter(record)


@pytest.mark.parametrize(
    "record",
    [
        line("bridge.bus_side.link", "Kafka is away"),
        line("aiokafka.producer", "Something that nobody has seen yet"),
        line("asyncio", "Exception in callback <function ours at 0x7f>"),
        line("asyncio", "Future exception was never retrieved", error=KeyError("ours")),
    ],
    ids=lambda record: record.msg[:30],
)
def test_everything_else_is(record):
    assert Noise().filter(record)


def test_a_refusal_is_not_forgotten_for_a_closed_port():
    noise = Noise()
    noise.filter(line("aiokafka", "Unable connect to node: %s", SaslAuthenticationFailed("wrong password")))
    noise.filter(line("aiokafka", "Unable connect to node: %s", ConnectionRefusedError()))
    assert "wrong password" in noise.cause
    noise.reset()
    noise.filter(line("aiokafka", "Unable connect to node: %s", ConnectionRefusedError()))
    assert "connection refused" in noise.cause
