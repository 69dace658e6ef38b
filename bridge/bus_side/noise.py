"""Noise: aiokafka's own lines in the log, those that mislead taken out.

aiokafka reports each retry at WARNING or ERROR, hundreds a second in an outage. Those that an outage or a transaction's
markers explain are taken out by their cause; the last of them is kept, so that the one line
about the outage can say why. Everything else it says stays.
"""

from __future__ import annotations

import logging
from typing import Final

from aiokafka.errors import KafkaError

from bridge.bus_side.plain_words import explain, is_refusal

# Beginnings of aiokafka's lines (0.14) that say why Kafka cannot be reached.
_UNREACHABLE: Final = ("Unable connect to", "Unable to request metadata from", "Cannot send ", "Could not send ")
# Those that say "not yet". All are tried again, by aiokafka or by us.
_RETRIES: Final = (
    "Unable to update metadata from",
    "Got error produce response",
    "Failed fetch messages from",
    "Unknown error fetching data for",
    "Heartbeat failed",
    "OffsetCommit failed",
    "Error sending OffsetFetchRequest",
    "Error sending OffsetCommitRequest",
    "Group Coordinator Request failed",
    "FindCoordinator Request failed",
    "Unexpected error during InitProducerIdRequest",
    "Topic %s not found in cluster metadata",
    "Topic %s is not available during auto-create",
    "Topic %s is not authorized",
    "'%s' is not a valid topic name",
    "No broker metadata found",
    "Unable to bootstrap",
)
_INFORMATION: Final = (
    "Discovered coordinator",
    "Updating subscribed topics",
    "Metadata for topic",
    "Resetting offset",
    "Authenticated ",
)
# A connection to a coordinator that ended: the sink gets the same error, and says so.
_ENDED: Final = "Unexpected error in sender routine"
# asyncio's, about futures that aiokafka made and dropped with the connection.
_DROPPED: Final = ("Task was destroyed but it is pending", "Future exception was never retrieved")
# Its bookkeeping of a batch that ended when the producer was abandoned.
_ABANDONED: Final = "Exception in callback <function MessageAccumulator"


class Noise(logging.Filter):
    """Put it on a handler: a logger's own filter does not see what its children say."""

    def __init__(self) -> None:
        super().__init__()
        self.cause = ""
        """Why aiokafka cannot get through: what it said last, but a refusal is not forgotten for a closed port."""
        self.error: BaseException | None = None
        """Of that cause, where aiokafka names one."""

    def reset(self) -> None:
        """Whatever was said is over."""
        self.cause, self.error = "", None

    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        if record.name == "asyncio":
            if record.getMessage().startswith(_ABANDONED):
                return False
            return not (text.startswith(_DROPPED) and _is_aiokafkas(record))
        if not record.name.startswith("aiokafka"):
            return True
        if text.startswith(_ENDED):
            return not (record.exc_info and isinstance(record.exc_info[1], KafkaError))
        if text.startswith(_UNREACHABLE):
            self._learn(record)
            return False
        return not text.startswith((*_RETRIES, *_INFORMATION))

    def _learn(self, record: logging.LogRecord) -> None:
        """The error itself is the last of the line's arguments; what stands before it says which broker."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        error = arguments[-1] if arguments and isinstance(arguments[-1], BaseException) else None
        if self.error is not None and is_refusal(self.error) and not (error is not None and is_refusal(error)):
            return
        self.cause, self.error = record.getMessage(), error
        if error is not None:
            where = ":".join(str(each) for each in arguments[:-1])
            self.cause = f"{where}: {explain(error)}"


def _is_aiokafkas(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return isinstance(error, KafkaError) or "aiokafka" in record.getMessage()
