"""OffsetFetch with `require_stable` (KIP-447), which aiokafka 0.14 does not have: its newest version is 3.

Without it, a broker that still writes the markers of a group's last transaction may answer with the position before
that transaction, and what it carried would be sent again.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeAlias

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import BrokerResponseError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest_v3
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

# Errors that a moment cures: coordinator loading, not available (its topic is only just being made), moved; unstable
# offset.
_PASSING: Final = frozenset({14, 15, 16, 88})
_PAUSE_S: Final = 0.02


class OffsetFetchResponse_v7(Response):  # noqa: N801 - aiokafka's way of naming a version
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class OffsetFetchRequest_v7(RequestStruct):  # noqa: N801 - aiokafka's way of naming a version
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = OffsetFetchResponse_v7
    SCHEMA = Schema(
        ("consumer_group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(Int32)),
                ("tags", TaggedFields),
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


_Versions: TypeAlias = OffsetFetchRequest_v3 | OffsetFetchRequest_v7


class StableOffsetFetch(Request[_Versions]):
    """One partition's committed offset of a group; `stable` where the broker knows that word (Kafka 2.5)."""

    API_KEY = 9

    def __init__(self, group: str, topic: str, partition: int, *, stable: bool) -> None:
        self._group = group
        self._topic = topic
        self._partition = partition
        self._stable = stable

    def build(self, request_struct_class: type[_Versions]) -> _Versions:
        if request_struct_class.API_VERSION < OffsetFetchRequest_v7.API_VERSION:
            return request_struct_class(self._group, [(self._topic, [self._partition])])
        return request_struct_class(self._group, [(self._topic, [self._partition], {})], self._stable, {})


async def committed_offset(
    client: AIOKafkaClient, group: str, topic: str, partition: int, *, stable: bool = True
) -> tuple[int, str] | None:
    """Offset and metadata that `group` committed for the partition; None where it has none.

    `stable` False: as it was before a transaction that may be open.

    Tries until the coordinator answers: the caller sets the time limit.

    Raises:
        KafkaError: the coordinator refuses, or the connection broke.
    """
    while True:
        node = await group_coordinator(client, group)
        response = await client.send(
            node, StableOffsetFetch(group, topic, partition, stable=stable), group=ConnectionGroup.COORDINATION
        )
        offset, metadata, error = _answer(response)
        if error == 0:
            return None if offset < 0 else (offset, metadata)
        if error not in _PASSING:
            raise for_code(error)(f"the position of group {group} cannot be read")
        await asyncio.sleep(_PAUSE_S)


async def group_coordinator(client: AIOKafkaClient, group: str) -> int:
    """The node that keeps the group's positions. Raises KafkaError."""
    return await coordinator(client, CoordinationType.GROUP, group)


async def coordinator(client: AIOKafkaClient, kind: CoordinationType, name: str) -> int:
    """The node that coordinates a group or transactional id; waits while there is none. Raises KafkaError."""
    while True:
        try:
            node: int = await client.coordinator_lookup(kind, name)
        except BrokerResponseError as error:
            if error.errno not in _PASSING:
                raise
            await asyncio.sleep(_PAUSE_S)
        else:
            return node


def _answer(response: Any) -> tuple[int, str, int]:
    """Offset, metadata and error code: of the partition, or of the whole response."""
    if response.error_code or not response.topics:
        return -1, "", response.error_code
    partitions = response.topics[0][1]
    fields = [field for field in partitions[0] if not isinstance(field, dict)]  # but for the tags
    return fields[1], fields[-2] or "", fields[-1]
