"""LaneProducer: aiokafka's producer, with positions of several groups in one transaction, and an end that never hangs.

What it reaches into is aiokafka 0.14's; `tests/kafka/test_exactly_once.py` fails if another version differs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import CoordinatorNotAvailableError, KafkaConnectionError, KafkaError
from aiokafka.producer import sender
from aiokafka.structs import OffsetAndMetadata

from bridge.bus_side.record_batch import RecordBatch

_END_LIMIT_S = 1.0


def hasten_transactions(pause_s: float) -> None:
    """Sets how long aiokafka waits while the broker still writes the last transaction's markers.

    Its 20 ms are a constant of the module, no setting; at 5 ms the median latency at 20 thousand records a second went
    from 35 to 18 ms. Called once, by the composition root.
    """
    sender.BACKOFF_OVERRIDE = pause_s


class LaneProducer:
    """A producer for one life: after any error it is abandoned and another takes over its transactional id."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """`settings`: keyword arguments of AIOKafkaProducer."""
        self._producer = AIOKafkaProducer(**settings)

    @property
    def client(self) -> AIOKafkaClient:
        return self._producer.client

    async def lacks_transaction_log(self) -> bool:
        """True if the cluster says that nobody coordinates our transactions."""
        manager = self._producer._txn_manager
        if manager is None or manager.transactional_id is None:
            return False
        try:
            async with asyncio.timeout(_END_LIMIT_S):
                await self.client.coordinator_lookup(CoordinationType.TRANSACTION, manager.transactional_id)
        except CoordinatorNotAvailableError:
            return True
        except (KafkaError, OSError, TimeoutError):
            return False
        return False

    async def start(self) -> None:
        """Connects and takes over the transactional id, if there is one. Raises KafkaError."""
        try:
            await self._producer.start()
        except (AssertionError, LookupError, ValueError) as error:
            # aiokafka's ways to say that a server's SCRAM signature is wrong, or that it refused a token.
            raise KafkaConnectionError("what Kafka answered to our log-in makes no sense") from error

    async def begin(self) -> None:
        """Begins a transaction. Raises KafkaError."""
        await self._producer.begin_transaction()

    @property
    def id(self) -> int:
        """As Kafka knows it in the log."""
        number: int = self._producer._txn_manager.producer_id
        return number

    async def send(self, batch: RecordBatch, topic: str, partition: int) -> int:
        """Returns when the broker has the batch: where it begins in the log (-1: unknown). Raises KafkaError."""
        offset: int = (await (await self._producer.send_batch(batch, topic, partition=partition))).offset
        return offset

    async def commit(self) -> None:
        """Commits the transaction. Raises KafkaError; then nobody knows yet whether it is committed."""
        await self._producer.commit_transaction()

    async def abort(self) -> None:
        """Aborts the transaction; another one may begin. Raises KafkaError."""
        await self._producer.abort_transaction()

    async def send_position(self, group: str, topic: str, position: int, metadata: str, coordinator: int) -> int:
        """Puts one group's position into the open transaction; returns the group's coordinator, for the next time.

        aiokafka adds only the first group to a transaction (`TransactionManager.consumer_group_to_add`) and remembers
        one group coordinator for all groups (`Sender._coordinators`): a second group's position would never become
        visible. So each group is made the first.

        Raises:
            KafkaError: as `send_offsets_to_transaction`.
        """
        self._producer._txn_manager._txn_consumer_group = None
        self._producer._sender._coordinators[CoordinationType.GROUP] = coordinator
        offsets = {TopicPartition(topic, 0): OffsetAndMetadata(position, metadata)}
        await self._producer.send_offsets_to_transaction(offsets, group)
        found: int = self._producer._sender._coordinators.get(CoordinationType.GROUP, coordinator)
        return found

    async def abandon(self) -> None:
        """Ends without flushing. `stop` would wait for a Kafka that does not answer, for ever.

        An open transaction is left to the next InitProducerId of its id, which aborts it.
        """
        self._producer._closed = True
        task = self._producer._sender.sender_task
        if task is not None:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_LIMIT_S):
                await self.client.close()
        if task is not None:
            await self._end(task)

    async def _end(self, task: asyncio.Task[None]) -> None:
        # On cancellation the sender waits for its requests, and those for metadata that nobody fetches any more.
        waiting = self.client._md_update_fut
        if waiting is not None and not waiting.done():
            waiting.set_result(False)
        await asyncio.wait({task}, timeout=_END_LIMIT_S)
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_END_LIMIT_S)
        if not task.cancelled():
            task.exception()  # known to whoever called us; asyncio need not report it again
