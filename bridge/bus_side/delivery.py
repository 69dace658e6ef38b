"""Delivery: in plain words, why the cluster cannot do what `kafka.delivery` asks for, and what would help.

It is never done in a lesser way instead. Devices are served and the queue keeps what they send until somebody has
changed the cluster or the configuration.
"""

from __future__ import annotations

from typing import Final

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    InvalidTransactionTimeout,
    TransactionalIdAuthorizationFailed,
    UnsupportedVersionError,
)

NO_TRANSACTION_LOG: Final = (
    "Kafka answers, but not for transactions: its transaction log (__transaction_state) is not available; the brokers "
    "that are up may be fewer than transaction.state.log.replication.factor or transaction.state.log.min.isr ask for"
)


def refused(error: BaseException, delivery: str, gateway: str) -> str:
    """Why the configured delivery cannot be had, by the error or one behind it; empty: that is not the trouble."""
    at: BaseException | None = error
    while at is not None:
        words = _words(at, delivery, gateway)
        if words:
            return words
        at = at.__cause__
    return ""


def _words(error: BaseException, delivery: str, gateway: str) -> str:
    exactly_once = 'kafka.delivery = "exactly_once" needs'
    instead = '(or set kafka.delivery = "at_least_once")'
    if isinstance(error, TransactionalIdAuthorizationFailed):
        what = f'the transactional id "{gateway}"'
        return f"this account may not use {what}: {exactly_once} Write and Describe on it {instead}"
    if isinstance(error, GroupAuthorizationFailedError):
        what = f'the groups "busbridge.{gateway}.*"'
        return f"this account may not use {what}: {exactly_once} Read on them {instead}"
    if isinstance(error, ClusterAuthorizationFailedError):
        return "this account may not write idempotently: it needs IdempotentWrite on the cluster, or Write on any topic"
    if isinstance(error, IncompatibleBrokerVersion | UnsupportedVersionError):
        return f'Kafka is too old for kafka.delivery = "{delivery}": it needs version 0.11 or newer ({error})'
    if isinstance(error, InvalidTransactionTimeout):
        return "kafka.transaction_timeout is longer than this cluster allows (transaction.max.timeout.ms)"
    return ""
