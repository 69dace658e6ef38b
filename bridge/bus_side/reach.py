"""Reach: a look at the cluster before anything runs. It writes nothing, makes nothing, and fences no running gateway.

So it cannot see whether the account may *write* to a topic: Kafka says that only to who tries.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import msgspec
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TransactionalIdAuthorizationFailed,
    for_code,
)
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from bridge.bus_side.access import Access, AccessError
from bridge.bus_side.delivery import NO_TRANSACTION_LOG, refused
from bridge.bus_side.noise import Noise
from bridge.bus_side.offset_fetch import coordinator
from bridge.bus_side.topic_maker import TopicMaker
from bridge.config import Config, Kafka

_BROKER: Final = 4  # a resource type of DescribeConfigs
_UNKNOWN, _REFUSED = 3, 29
_LIMITS: Final = 3
"""Several requests, one after another: so many request time-outs."""


class Answer(msgspec.Struct, frozen=True):
    """One thing that was looked at, in plain words."""

    text: str
    well: bool = True


def reach(config: Config, kafka: Kafka) -> list[Answer]:
    """Goes to Kafka as `busbridge run` would: reaches it, logs in, and asks for topics, transactions and positions."""
    log, ear = logging.getLogger("aiokafka"), _Ear()
    noise = Noise()
    ear.addFilter(noise)
    log.addHandler(ear)
    propagate, log.propagate = log.propagate, False
    try:
        return asyncio.run(_reach(config, kafka, noise))
    finally:
        log.propagate = propagate
        log.removeHandler(ear)


class _Ear(logging.Handler):
    """Its filter listens; nothing is written."""

    def emit(self, record: logging.LogRecord) -> None:
        pass


async def _reach(config: Config, kafka: Kafka, noise: Noise) -> list[Answer]:
    access = Access(kafka)
    try:
        client = AIOKafkaClient(**access.settings(), client_id=f"busbridge-check-{config.gateway.id}")
    except AccessError as error:
        return [Answer(str(error), well=False)]
    answers: list[Answer] = []
    try:
        async with asyncio.timeout(kafka.request_timeout * _LIMITS):
            await client.bootstrap()
            if not client.cluster.brokers():
                raise KafkaConnectionError("Kafka names no brokers")
            answers.append(Answer(f"Kafka answers and lets us in: {len(client.cluster.brokers())} brokers"))
            await _look(client, config, kafka, answers)
    except (KafkaError, OSError, TimeoutError, ValueError) as error:
        answers.append(Answer(f"Kafka cannot be used: {access.why(error, noise)}", well=False))
    finally:
        await client.close()
    return answers


async def _look(client: AIOKafkaClient, config: Config, kafka: Kafka, answers: list[Answer]) -> None:
    answers += [await _topic(client, config, kafka, name) for name in _topics(config, kafka)]
    if kafka.delivery == "at_least_once":
        answers.append(await _idempotence(client))
    else:
        answers.append(await _transactions(client, config.gateway.id, kafka.request_timeout))
        answers += [await _positions(client, f"busbridge.{config.gateway.id}.{lane}") for lane in config.lane_names()]


def _topics(config: Config, kafka: Kafka) -> tuple[str, ...]:
    names = [route.topic for route in config.routes]
    names += [config.state.topic] if config.state is not None else []
    names += [kafka.event_topic, *filter(None, [kafka.dead_letter_topic])]
    downlink = config.downlink
    names += [downlink.desired_topic] if downlink.desired_topic is not None else []
    names += [downlink.command_topic, downlink.outcome_topic] if downlink.command_topic is not None else []
    return tuple(dict.fromkeys(names))


async def _topic(client: AIOKafkaClient, config: Config, kafka: Kafka, name: str) -> Answer:
    request = MetadataRequest([name], allow_auto_topic_creation=False)
    response = await client.send(client.get_random_node(), request)
    code, *_, partitions = response.topics[0]
    if code == _REFUSED:
        return Answer(f"topic {name}: this account may not use it", well=False)
    if code != _UNKNOWN:
        return Answer(f"topic {name}: there, {len(partitions)} partitions")
    if not kafka.create_topics:
        return await _left_to_kafka(client, name)
    compacted = frozenset([config.state.topic]) if config.state is not None else frozenset[str]()
    reason = await TopicMaker(client, kafka, compacted).make(name, only_ask=True)
    if reason:
        return Answer(f"topic {name}: not there, and it cannot be made: {reason}", well=False)
    return Answer(f"topic {name}: not there yet, it can be made")


async def _left_to_kafka(client: AIOKafkaClient, name: str) -> Answer:
    """A topic that is not there, and that we are not to make: whether the broker would."""
    node = client.get_random_node()
    setting = "auto.create.topics.enable"
    response = await client.send(node, DescribeConfigsRequest([(_BROKER, str(node), [setting])]))
    code, _, _, _, entries = response.resources[0]
    if code or not entries:
        return Answer(f"topic {name}: not there; whether Kafka makes it when it is asked for, it does not tell us")
    if entries[0][1] == "true":
        return Answer(f"topic {name}: not there yet, Kafka makes it when it is asked for")
    return Answer(f"topic {name}: not there, and Kafka makes none (make it, or set kafka.create_topics)", well=False)


async def _transactions(client: AIOKafkaClient, gateway: str, limit_s: float) -> Answer:
    try:
        async with asyncio.timeout(limit_s):
            await coordinator(client, CoordinationType.TRANSACTION, gateway)
    except TransactionalIdAuthorizationFailed as error:
        return Answer(f"transactions: {refused(error, 'exactly_once', gateway)}", well=False)
    except TimeoutError:
        return Answer(f"transactions: {NO_TRANSACTION_LOG}", well=False)
    return Answer("transactions: allowed")


async def _idempotence(client: AIOKafkaClient) -> Answer:
    """Asks for a producer id: it costs the cluster a number, and fences nobody."""
    no_transactions: Any = None
    response = await client.send(client.get_random_node(), InitProducerIdRequest(no_transactions, 0))
    if response.error_code:
        words = refused(for_code(response.error_code)(), "at_least_once", "")
        return Answer(f"idempotent writes: {words or for_code(response.error_code).description}", well=False)
    return Answer("idempotent writes: allowed")


async def _positions(client: AIOKafkaClient, group: str) -> Answer:
    try:
        await coordinator(client, CoordinationType.GROUP, group)
    except GroupAuthorizationFailedError:
        return Answer(f"positions: this account may not use the group {group!r} (it needs Read on it)", well=False)
    return Answer(f"positions: allowed in the group {group}")
