"""The two ways of the Confluent wire format: devices that frame their payloads themselves, and devices that do not."""

from __future__ import annotations

from bridge.schemas import wire_format
from bridge.schemas.registry import Registry


class DeviceFramed:
    """Payloads come with the id of their schema, which is known, belongs to the subject, and is kept to."""

    def __init__(self, registry: Registry, subject: str | None) -> None:
        """`subject`: None for any."""
        self._registry = registry
        self._subject = subject

    def fit(self, payload: bytes) -> bytes:
        """See `schema.Schema.fit`."""
        self._registry.by_id(wire_format.schema_id(payload), self._subject).judge_framed(payload)
        return payload


class GatewayFramed:
    """Payloads come bare; those that keep to the subject's latest schema get its id before them."""

    def __init__(self, registry: Registry, subject: str, message: str | None) -> None:
        self._registry = registry
        self._subject = subject
        self._message = message

    def fit(self, payload: bytes) -> bytes:
        """See `schema.Schema.fit`."""
        return self._registry.latest(self._subject).framed(payload, self._message)
