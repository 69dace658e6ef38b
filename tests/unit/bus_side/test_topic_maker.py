"""What a broker's answer to the wish for a topic means: it is there, it cannot be, or not at the moment."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import CreateTopicsRequest

from bridge.bus_side.topic_maker import TopicMaker
from bridge.config import Kafka

MISSING, EXISTS, TIMED_OUT, NOT_CONTROLLER, BAD_REPLICATION, POLICY = 3, 36, 7, 41, 38, 44


class Answer:
    """What aiokafka makes of a response, as far as it is read."""

    def __init__(self, code: int) -> None:
        self.topics = [(MISSING, "telemetry", False, [])]
        self.topic_errors = [("telemetry", code, "")]


class Client:
    """A broker that has no such topic and answers each wish for it alike."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.wishes = 0

    def get_random_node(self) -> int:
        return 1

    async def send(self, _node: int, request: Any) -> Answer:
        self.wishes += isinstance(request, CreateTopicsRequest)
        return Answer(self.code)


async def made(code: int) -> str:
    client = Client(code)
    try:
        return await TopicMaker(client, Kafka(("kafka:9092",)), frozenset()).make("telemetry")
    finally:
        assert client.wishes == 1


@pytest.mark.parametrize("code", [0, EXISTS])
async def test_it_is_there(code: int) -> None:
    assert await made(code) == ""


@pytest.mark.parametrize("code", [BAD_REPLICATION, POLICY])
async def test_it_cannot_be(code: int) -> None:
    assert await made(code) != ""


@pytest.mark.parametrize("code", [TIMED_OUT, NOT_CONTROLLER])
async def test_a_cluster_without_a_controller_is_no_reason_for_dead_letters(code: int) -> None:
    with pytest.raises(KafkaError):
        await made(code)
