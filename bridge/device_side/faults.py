"""Faults: headers that make a record a dead letter, for what is wrong with it was found before it went to the disk."""

from __future__ import annotations

from typing import Final

Faults = tuple[tuple[str, bytes], ...]
_DETAIL_MAX: Final = 500
"""Characters of what is wrong: it stands in a header."""


def faults_of(error: str, detail: object) -> Faults:
    """`error`: one word for it (docs/kafka-records.md); `detail`: for people."""
    return (("error", error.encode()), ("error-detail", str(detail)[:_DETAIL_MAX].encode()))
