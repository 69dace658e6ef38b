"""Other producers with the same messages, each in a process of its own: `python -m … NAME SERVER TOPIC …`.

What they are given is in memory, so reading it from disk and keeping its place there is not among their costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from tests.bench.support.readings import headers_of, readings

_TRANSACTION_RECORDS = 20_000
_BATCH_BYTES = 1_000_000
Sent = list[tuple[bytes, bytes, list[tuple[str, bytes]]]]


def main(argv: Sequence[str]) -> int:
    """Sends, and prints seconds and CPU seconds as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=("confluent-kafka", "aiokafka"))
    parser.add_argument("server")
    parser.add_argument("topic")
    parser.add_argument("--records", type=int)
    parser.add_argument("--bytes", type=int)
    parser.add_argument("--delivery")
    parser.add_argument("--compression")
    options = parser.parse_args(argv)
    messages = [
        (device.encode(), payload, headers_of(device, number))
        for number, (device, payload) in enumerate(readings(options.records, options.bytes), 1)
    ]
    begun, cpu = time.monotonic(), _cpu_s()
    if options.name == "aiokafka":
        asyncio.run(_aiokafka(options, messages))
    else:
        _confluent(options, messages)
    print(json.dumps({"seconds": time.monotonic() - begun, "cpu_s": _cpu_s() - cpu}))
    return 0


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _confluent(options: argparse.Namespace, messages: Sent) -> None:
    transactional = options.delivery == "exactly_once"
    settings: dict[str, Any] = {
        "bootstrap.servers": options.server,
        "enable.idempotence": True,
        "compression.type": options.compression,
        "batch.size": _BATCH_BYTES,
        "linger.ms": 5,
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 2_000_000,
        "log_level": 4,
    }
    producer = Producer(settings | ({"transactional.id": f"other-{options.topic}"} if transactional else {}))
    if transactional:
        producer.init_transactions(60)
    for first in range(0, len(messages), _TRANSACTION_RECORDS):
        if transactional:
            producer.begin_transaction()
        for key, value, headers in messages[first : first + _TRANSACTION_RECORDS]:
            producer.produce(options.topic, value, key, headers=headers)
        if transactional:
            producer.commit_transaction(60)
        producer.poll(0)
    if producer.flush(120):
        raise TimeoutError("not all was sent")


async def _aiokafka(options: argparse.Namespace, messages: Sent) -> None:
    transactional = options.delivery == "exactly_once"
    producer = AIOKafkaProducer(
        bootstrap_servers=options.server,
        enable_idempotence=True,
        transactional_id=f"other-{options.topic}" if transactional else None,
        compression_type=None if options.compression == "none" else options.compression,
        max_batch_size=_BATCH_BYTES,
        linger_ms=5,
        retry_backoff_ms=5,
    )
    async with producer:
        for first in range(0, len(messages), _TRANSACTION_RECORDS):
            some = messages[first : first + _TRANSACTION_RECORDS]
            if transactional:
                async with producer.transaction():
                    await _send(producer, options.topic, some)
            else:
                await _send(producer, options.topic, some)


async def _send(producer: AIOKafkaProducer, topic: str, messages: Sent) -> None:
    sent = [await producer.send(topic, value, key, headers=headers) for key, value, headers in messages]
    await asyncio.gather(*sent)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
