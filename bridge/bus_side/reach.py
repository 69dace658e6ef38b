"""Reach: a look at the cluster before anything runs. It writes nothing, makes nothing, and fences no running gateway.

What the account may do with a topic is asked for; a Kafka before 2.3 says it only to who tries.
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
from bridge.bus_side.topic_rights import READ, WRITE, TopicRights, allowed
from bridge.config import Config, Kafka

_BROKER: Final = 4  # a resource type of DescribeConfigs
_UNKNOWN, _REFUSED = 3, 29
_NAMES: Final = {READ: "Read", WRITE: "Write"}
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
    answers += [await _topic(client, config, kafka, *each) for each in _topics(config, kafka).items()]
    if kafka.delivery == "at_least_once":
        answers.append(await _idempotence(client))
    else:
        answers.append(await _transactions(client, config.gateway.id, kafka.request_timeout))
        answers += [await _positions(client, f"busbridge.{config.gateway.id}.{lane}") for lane in config.lane_names()]
    answers += [await _positions(client, f"busbridge.{config.gateway.id}.{name}") for name in _consumers(config)]


def _consumers(config: Config) -> list[str]:
    """The ends of the names of the groups in which the downlink topics are read."""
    topics = {"downlink": config.downlink.desired_topic, "commands": config.downlink.command_topic}
    return [name for name, topic in topics.items() if topic is not None]


def _topics(config: Config, kafka: Kafka) -> dict[str, dict[int, str]]:
    """What each topic is for, by what the account has to be allowed to do with it."""
    state, downlink = config.state, config.downlink
    needs: list[tuple[str | None, int, str]] = [(route.topic, WRITE, "a route goes there") for route in config.routes]
    if state is not None:
        needs.append((state.topic, WRITE, "device documents go there"))
        needs += [(state.topic, READ, "documents of other gateways are read, state.roaming")] if state.roaming else []
    needs.append((kafka.event_topic, WRITE, "gaps and other events go there"))
    needs.append((kafka.dead_letter_topic or None, WRITE, "dead letters go there"))
    needs.append((downlink.desired_topic, READ, "desired states come from there"))
    if downlink.command_topic is not None:
        needs.append((downlink.command_topic, READ, "commands come from there"))
        needs.append((downlink.outcome_topic, WRITE, "outcomes of commands go there"))
    found: dict[str, dict[int, str]] = {}
    for topic, operation, why in needs:
        if topic is not None:
            found.setdefault(topic, {}).setdefault(operation, why)
    return found


async def _topic(client: AIOKafkaClient, config: Config, kafka: Kafka, name: str, needs: dict[int, str]) -> Answer:
    code, partitions, operations = await _asked(client, name)
    if code == _REFUSED:
        return Answer(f"topic {name}: this account may not use it", well=False)
    if code != _UNKNOWN:
        lacking = [f"{_NAMES[each]} ({why})" for each, why in needs.items() if not allowed(operations, each)]
        if lacking:
            return Answer(f"topic {name}: this account lacks {' and '.join(lacking)} on it", well=False)
        return Answer(f"topic {name}: there, {len(partitions)} partitions")
    if not kafka.create_topics:
        return await _left_to_kafka(client, name)
    compacted = frozenset([config.state.topic]) if config.state is not None else frozenset[str]()
    reason = await TopicMaker(client, kafka, compacted).make(name, only_ask=True)
    if reason:
        return Answer(f"topic {name}: not there, and it cannot be made: {reason}", well=False)
    return Answer(f"topic {name}: not there yet, it can be made")


async def _asked(client: AIOKafkaClient, name: str) -> tuple[int, list[Any], int]:
    """Kafka's code for a topic, its partitions, and what may be done with it."""
    node = client.get_random_node()
    try:
        response = await client.send(node, TopicRights(name))
    except RuntimeError:  # aiokafka's word for a Kafka before 2.3, which does not know this request
        response = await client.send(node, MetadataRequest([name], allow_auto_topic_creation=False))
        code, *_, partitions = response.topics[0]
        return code, partitions, -1
    code, _, _, partitions, operations = response.topics[0]
    return code, partitions, operations


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
