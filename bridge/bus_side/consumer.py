"""Consumer: desired states and commands from Kafka into the downlink log.

The offset is committed in Kafka only when the record is durable here. In between lies a moment in which a crash makes
the record come again: that is harmless, it has a version, or an id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

from bridge.bus_side.access import Access, AccessError
from bridge.bus_side.backoff import Backoff
from bridge.bus_side.bell import Bell
from bridge.bus_side.desired import NotDesired
from bridge.bus_side.downlink_log import DownlinkLog
from bridge.bus_side.partitions import assign_all, has_grown

_log = logging.getLogger(__name__)
_POLL_MS = 1000
_BATCH_RECORDS = 1000
_END_LIMIT_S = 2.0
KafkaRecord = ConsumerRecord[bytes | None, bytes | None]


class Consumer:
    """Reads every partition of one topic; `run` until it is cancelled."""

    def __init__(
        self,
        access: Access,
        topic: str,
        group: str,
        *,
        log: DownlinkLog,
        bell: Bell,
        backoff: Backoff,
        encode: Callable[[KafkaRecord], bytes],
        timeout_s: float,
    ) -> None:
        """Args:
        group: keeps the offsets; every gateway reads all partitions, so it has a group of its own.
        encode: makes the log's record; raises NotDesired where there is nothing to be made of it.
        """
        self._access = access
        self._topic = topic
        self._group = group
        self._log = log
        self._bell = bell
        self._backoff = backoff
        self._encode = encode
        self._timeout_s = timeout_s
        self._away = False

    async def run(self) -> None:
        """Consumes for ever. Raises DownlinkFailed where the disk refuses."""
        while True:
            try:
                await self._session()
            except (AccessError, KafkaError, OSError, TimeoutError) as error:
                if not self._away:
                    self._away = True
                    _log.warning("topic %s cannot be read, tried again: %s", self._topic, str(error) or "no answer")
                await asyncio.sleep(self._backoff.next_s())

    async def _session(self) -> None:
        consumer = AIOKafkaConsumer(
            **self._access.settings(),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            # TCP and the broker have checked; a batch that fails here would fail for ever, and bar those behind it.
            check_crcs=False,
            max_poll_records=_BATCH_RECORDS,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                await consumer.start()
                await self._assign(consumer)
            while True:
                await self._take(consumer)
        finally:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(_END_LIMIT_S):
                    await consumer.stop()

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        await assign_all(consumer, self._topic)
        if self._away:
            self._away = False
            _log.info("topic %s is read again", self._topic)

    async def _take(self, consumer: AIOKafkaConsumer) -> None:
        """One poll: into the log, durable, and only then committed."""
        taken = await consumer.getmany(timeout_ms=_POLL_MS)
        for records in taken.values():
            await self._store(records)
        if taken:
            offsets = {partition: records[-1].offset + 1 for partition, records in taken.items()}
            async with asyncio.timeout(self._timeout_s):
                await consumer.commit(offsets)
            self._backoff.reset()
        if has_grown(consumer, self._topic):
            await self._assign(consumer)

    async def _store(self, records: Sequence[KafkaRecord]) -> None:
        encoded: list[bytes] = []
        for record in records:
            try:
                encoded.append(self._encode(record))
            except NotDesired as error:
                _log.warning(
                    "topic %s, partition %d, offset %d is skipped: %s",
                    record.topic, record.partition, record.offset, error,
                )  # fmt: skip
        if encoded:
            self._bell.tell_downlink(await self._log.append(encoded))
