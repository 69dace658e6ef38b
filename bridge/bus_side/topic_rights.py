"""Metadata with what the account may do with each topic (KIP-430), which aiokafka 0.14 does not ask for.

Kafka says only to who tries whether he may write; but since 2.3 it says before what he may.
"""

from __future__ import annotations

from typing import Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

_KEY: Final = 3
READ: Final = 3
WRITE: Final = 4
"""Operations (AclOperation); bits of `authorized_operations`, counted from 0."""
_NOT_SAID: Final = -(1 << 31)
_TEXT: Final = String("utf-8")


class _Response(Response):
    API_KEY = _KEY
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT))),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", _TEXT),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _Request(RequestStruct):
    API_KEY = _KEY
    API_VERSION = 8
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        ("topics", Array(_TEXT)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class TopicRights(Request[_Request]):
    """Of one topic. Its answer's `topics` has one: error, name, whether it is Kafka's own, partitions, operations."""

    API_KEY = _KEY

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_Request]) -> _Request:
        """The request as it goes out."""
        return request_struct_class([self._topic], False, False, True)


def allowed(operations: int, operation: int) -> bool:
    """Whether `authorized_operations` has it; true where Kafka has not said."""
    return operations == _NOT_SAID or bool(operations & 1 << operation)
