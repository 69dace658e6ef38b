"""Subscription: one topic filter with its options."""

from __future__ import annotations

import msgspec


class Subscription(msgspec.Struct, frozen=True):
    """One topic filter of a client with its options (MQTT5 §3.8.3.1)."""

    filter: str
    """As the client wrote it; a shared one still begins with `$share/GROUP/` (`topics.split_share` takes it apart)."""
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    """0: retained messages at every SUBSCRIBE, 1: only for a new subscription, 2: never."""
    identifiers: tuple[int, ...] = ()
    """Subscription identifiers; more than one where the broker merged overlapping subscriptions (MQTT5 §3.3.4)."""
