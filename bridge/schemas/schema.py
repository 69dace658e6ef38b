"""Schema: the interface of everything that judges payloads, and the answers that are not yes."""

from __future__ import annotations

from typing import Final, Protocol

UNAVAILABLE: Final = "schema-unavailable"
"""The error of a payload that may be right: its schema is out of reach."""


class SchemaError(Exception):
    """A schema that cannot be used; the text says what is wrong with it."""


class Misfit(Exception):
    """A payload may not pass. The text is for people and holds nothing of the payload, which may be sealed later."""

    def __init__(self, detail: str, error: str = "schema-mismatch") -> None:
        """`error`: `schema-mismatch`, `schema-unknown` or `schema-unavailable`, as the dead letter's header has it."""
        super().__init__(detail)
        self.error = error


class Pending(Exception):
    """Not known yet: offer the payload again in a moment."""


class Schema(Protocol):
    """What one route's payloads have to be."""

    def fit(self, payload: bytes) -> bytes:
        """The payload as it goes on: as it is, or with the id of its schema before it.

        Raises:
            Misfit: it does not fit.
            Pending: nobody can say yet.
        """
