"""KafkaReader: all records of one topic, from its beginning, as a reader with `read_committed` sees them.

It joins no group and commits nothing. It may be asked again for what came meanwhile, so it serves both an audit
afterwards and one that reads along.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from firmware_sim.arrival import Arrival

_BATCH = 500
_PATIENCE_S = 30.0
"""How long the cluster may say nothing at all."""


class KafkaReadError(Exception):
    """A topic cannot be read; the text says which, where and why."""


class KafkaReader:
    """Reads one topic; use it as a context manager."""

    def __init__(self, bootstrap: str, topic: str, patience_s: float = _PATIENCE_S) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._patience_s = patience_s
        self._ended: set[int] = set()
        self._next: dict[int, int] = {}
        """The offset behind the last record taken, by partition."""
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "busbridge-fleet",  # librdkafka wants one; it is not used
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "check.crcs": False,  # librdkafka's mock cluster writes transaction markers with a wrong one
                "fetch.wait.max.ms": 50,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 0,  # a broker that is away for a while is what is being tried here
            }
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Leave the cluster."""
        self._consumer.close()

    def read(self, timeout_s: float) -> list[Arrival]:
        """Return what came; waits for the first record for `timeout_s` at the most.

        Raises:
            KafkaReadError: Kafka does not answer at all, or with an error that does not pass by itself.
        """
        if self._find_partitions():
            self._assign()
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        now = time.time_ns()  # `consume` waits for a whole batch where it may wait at all
        messages = [first, *self._consumer.consume(_BATCH, 0)]
        return [arrival for message in messages if (arrival := self._take(message, now)) is not None]

    def read_to_end(self) -> list[Arrival]:
        """Return everything up to the end that each partition has when it gets there.

        Raises:
            KafkaReadError: as in `read`, or the cluster was silent for longer than the reader's patience.
        """
        self._find_partitions()
        self._ended.clear()
        self._assign()  # anew: librdkafka tells of an end once, and this may have been read before
        arrivals: list[Arrival] = []
        heard = time.monotonic()
        while self._ended != set(self._next):
            some = self.read(0.2)
            arrivals += some
            if some:
                heard = time.monotonic()
            elif time.monotonic() - heard > self._patience_s:
                raise self._error(f"nothing came for {self._patience_s:g} s")
        return arrivals

    def _find_partitions(self) -> bool:
        """Ask the cluster, the first time; True when it was the first."""
        if self._next:
            return False
        try:
            metadata = self._consumer.list_topics(self._topic, timeout=self._patience_s).topics[self._topic]
        except KafkaException as error:
            raise self._error(error.args[0]) from error
        if metadata.error is not None:
            raise self._error(metadata.error)
        self._next = dict.fromkeys(metadata.partitions, 0)
        return True

    def _assign(self) -> None:
        self._consumer.assign([TopicPartition(self._topic, number, offset) for number, offset in self._next.items()])

    def _take(self, message: Message, now: int) -> Arrival | None:
        error = message.error()
        partition, offset = message.partition(), message.offset()
        if error is not None:
            self._take_error(error, partition)
            return None
        assert partition is not None, "a record has a partition"
        assert offset is not None, "a record has an offset"
        self._next[partition] = offset + 1
        headers = {name: value for name, value in dict(message.headers() or []).items() if isinstance(value, bytes)}
        key, value = message.key(), message.value()
        return Arrival(
            topic=self._topic,
            key=key.decode() if isinstance(key, bytes) else "",
            value=value if isinstance(value, bytes) else None,
            headers=headers,
            place=f"{self._topic}/{partition}@{offset}",
            seen_at=now,
        )

    def _take_error(self, error: KafkaError, partition: int | None) -> None:
        if error.code() == KafkaError._PARTITION_EOF and partition is not None:
            self._ended.add(partition)
        elif not error.retriable() and error.code() not in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            raise self._error(error)

    def _error(self, why: KafkaError | str) -> KafkaReadError:
        why = why.str() if isinstance(why, KafkaError) else why
        return KafkaReadError(f"topic {self._topic} of Kafka at {self._bootstrap} cannot be read: {why}")
