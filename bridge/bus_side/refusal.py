"""Refusal: why Kafka will not take a record."""

from __future__ import annotations

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """Why Kafka will not take a record."""

    error: str
    """`record-too-large`, `invalid-timestamp`, `invalid-record`, `policy-violation`, `unknown-topic`, `not-authorised`,
    or `damaged-record`."""
    detail: str
    partition: int | None = None
    """Of the original topic, where it came to that."""
    parts: int = 1
    """Into how many dead letters its value is cut, because the dead-letter topic refuses it whole, too."""
    not_taken: str = ""
    """Why the dead-letter topic does not take it in any form; empty: it does, as far as we know."""
