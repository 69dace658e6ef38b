"""What every connection to Kafka has in common: addresses, log-in, and its lines in the log.

aiokafka reports each retry at WARNING or ERROR, hundreds a second in an outage. Those that an outage or a transaction's
markers explain are taken out by their cause; the last of them is kept, so that the one line
about the outage can say why. Everything else it says stays.
"""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError

from bridge.config import Kafka
from bridge.credentials import secret

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
    "Topic %s not found in cluster metadata",
    "Topic %s is not available during auto-create",
    "Topic %s is not authorized",
    "'%s' is not a valid topic name",
    "No broker metadata found",
    "Unable to bootstrap",
)
_INFORMATION: Final = ("Discovered coordinator", "Updating subscribed topics", "Metadata for topic", "Resetting offset")
# asyncio's, about futures that aiokafka made and dropped with the connection.
_DROPPED: Final = ("Task was destroyed but it is pending", "Future exception was never retrieved")


class Noise(logging.Filter):
    """Put it on a handler: a logger's own filter does not see what its children say."""

    def __init__(self) -> None:
        super().__init__()
        self.cause = ""
        """What aiokafka said last about why it cannot get through."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        if record.name == "asyncio":
            return not (text.startswith(_DROPPED) and _is_aiokafkas(record))
        if not record.name.startswith("aiokafka"):
            return True
        if text.startswith(_UNREACHABLE):
            self.cause = record.getMessage()
            return False
        return not text.startswith((*_RETRIES, *_INFORMATION))


def _is_aiokafkas(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return isinstance(error, KafkaError) or "aiokafka" in record.getMessage()


def client_settings(kafka: Kafka) -> dict[str, Any]:
    """Keyword arguments that aiokafka's producer and consumer both take.

    Raises:
        SecretError: the password's file cannot be read.
        OSError, ssl.SSLError: a certificate's cannot.
    """
    security = kafka.security
    settings: dict[str, Any] = {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        "request_timeout_ms": int(kafka.request_timeout * 1000),
        "security_protocol": security.protocol,
    }
    if security.protocol.startswith("SASL"):
        password = secret(security.password_file, os.environ) if security.password_file is not None else None
        settings |= {
            "sasl_mechanism": security.mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": password,
        }
    if security.protocol.endswith("SSL"):
        settings["ssl_context"] = _ssl_context(security.ca, security.certificate, security.private_key)
    return settings


def _ssl_context(ca: Path | None, certificate: Path | None, private_key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        context.load_cert_chain(certificate, private_key)
    return context
