"""The parts that only a bus side with a Kafka has. Loaded only there: aiokafka is half of that process."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from bridge.bus_side.access import Access
from bridge.bus_side.backoff import Backoff
from bridge.bus_side.bell import Bell
from bridge.bus_side.commands import encode_command
from bridge.bus_side.consumer import Consumer, KafkaRecord
from bridge.bus_side.dead_letter_log import DeadLetterLog
from bridge.bus_side.desired import encode_desired
from bridge.bus_side.downlink_log import DownlinkLog
from bridge.bus_side.forms import Forms
from bridge.bus_side.gap import rfc3339
from bridge.bus_side.judge import Judge
from bridge.bus_side.kafka import KafkaSink
from bridge.bus_side.known import Known
from bridge.bus_side.newcomers import Newcomers
from bridge.bus_side.noise import Noise
from bridge.bus_side.producer import hasten_transactions
from bridge.bus_side.refusals import know_invalid_records
from bridge.bus_side.settled import Settled
from bridge.bus_side.sink import Sink
from bridge.bus_side.topic_tail import TopicTail
from bridge.bus_side.wanted import Wanted
from bridge.config import Config, Kafka, State
from bridge.log.queue_key import Keyring
from bridge.log.settings import LogSettings

_CONTEST_PAUSE_MAX_S: Final = 0.02
"""A transaction takes about as long."""
_LOOK_PATIENCE_S: Final = 0.5


def quieten() -> Noise:
    """Filters aiokafka's own lines out of this process's log."""
    noise = Noise()
    root = logging.getLogger()
    for handler in root.handlers:
        handler.addFilter(noise)
    # At DEBUG aiokafka writes whole requests into the log, and so what devices have sent.
    logging.getLogger("aiokafka").setLevel(max(root.level, logging.INFO))
    return noise


def make_sink(config: Config, kafka: Kafka, noise: Noise, letters: DeadLetterLog, forms: Forms) -> KafkaSink:
    """The sink; aiokafka is taught what it does not know for it."""
    hasten_transactions(kafka.retry_backoff)
    know_invalid_records()
    compacted = frozenset([config.state.topic]) if config.state is not None else frozenset[str]()
    return KafkaSink(config.gateway.id, kafka, Access(kafka), noise, compacted, letters, forms)


def open_downlink_log(config: Config, boot_id: bytes, keys: Keyring) -> DownlinkLog:
    """The log of what comes down, recovered. Raises LogError."""
    settings = LogSettings.for_downlink(config.downlink, config.queue)
    return DownlinkLog(config.gateway.data_dir / "downlink", settings, boot_id, keys)


def make_consumers(
    config: Config, kafka: Kafka, bell: Bell, downlink: DownlinkLog, backoff: Callable[[], Backoff]
) -> Iterator[Consumer]:
    """What reads desired states and commands into it: one for each topic that is named."""
    settings, encode_one = config.downlink, _desired_encoder(config)

    def desired(record: KafkaRecord) -> bytes:
        return encode_one(record.key, record.value, record.offset)

    def command(record: KafkaRecord) -> bytes:
        most = settings.command_max_bytes
        return encode_command(record.key, record.value, record.partition, record.offset, time.time_ns(), most)

    for topic, encode, group in (
        (settings.desired_topic, desired, "downlink"),
        (settings.command_topic, command, "commands"),
    ):
        if topic is not None:
            yield Consumer(
                Access(kafka),
                topic,
                f"busbridge.{config.gateway.id}.{group}",
                log=downlink,
                bell=bell,
                backoff=backoff(),
                encode=encode,
                timeout_s=kafka.request_timeout,
            )


def make_settled(config: Config, kafka: Kafka, state: State, sink: Sink, bell: Bell, downlink: DownlinkLog) -> Settled:
    """What compares documents with those of other gateways, before the sink."""

    async def tell(records: list[bytes]) -> None:
        _, end = await downlink.offer(records)
        bell.tell_downlink(end)

    def instant(ago_s: float) -> str:
        return rfc3339(time.time_ns() - int(ago_s * 1e9))

    async def pause() -> None:
        await asyncio.sleep(random.uniform(0, _CONTEST_PAUSE_MAX_S))

    own = config.gateway
    known = Known(partial(TopicTail, kafka, state.topic), state.topic, own.id)
    judge = Judge(known, gateway=own.id, former=own.renamed_from, event_topic=kafka.event_topic, instant=instant)
    margin_s = state.sweep_margin if state.sweep else None
    return Settled(
        sink, known, judge, tell, pause=pause, patience_s=_LOOK_PATIENCE_S, instant=instant, sweep_margin_s=margin_s
    )


def make_newcomers(config: Config, kafka: Kafka, topic: str, sink: Sink, bell: Bell, downlink: DownlinkLog) -> Sink:
    """What reads for devices that connect what `topic` has for them, before the sink."""
    encode = _desired_encoder(config)

    async def tell(records: list[bytes]) -> int:
        taken, end = await downlink.offer(records)
        bell.tell_downlink(end)
        return taken

    return Newcomers(sink, Wanted(kafka, topic), encode, tell, config.gateway.id)


def _desired_encoder(config: Config) -> Callable[[bytes | None, bytes | None, int], bytes]:
    most = (config.state or State()).document_max_bytes
    labels_max = config.downlink.labels_max
    return lambda key, value, offset: encode_desired(key, value, offset, time.time_ns(), most, labels_max)
