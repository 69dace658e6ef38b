"""A route's schema from its file.

The libraries are imported where they are needed: a gateway without schemas is spared their memory (11 MB together).
"""

from __future__ import annotations

from pathlib import Path

from bridge.config import Schema as Settings
from bridge.schemas.schema import Misfit, Schema, SchemaError


class Sized:
    """A schema that does not look at what is too large: judging a payload takes the time of its bytes."""

    def __init__(self, schema: Schema, max_bytes: int) -> None:
        self._fit = schema.fit
        self._max_bytes = max_bytes

    def fit(self, payload: bytes) -> bytes:
        """See `Schema.fit`."""
        if len(payload) > self._max_bytes:
            raise Misfit(f"it has {len(payload)} bytes, more than schema.max_bytes ({self._max_bytes})")
        return self._fit(payload)


def load(settings: Settings) -> Schema:
    """The schema in the file that the settings name.

    Raises:
        SchemaError: it cannot be read or used; the text names the file.
    """
    path = settings.json or settings.avro or settings.protobuf
    if path is None:
        raise ValueError("this schema is in a registry, not in a file")
    try:
        return Sized(_load(settings, path), settings.max_bytes)
    except OSError as error:
        raise SchemaError(f"{path} cannot be read: {error.strerror}") from error
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from error


def _load(settings: Settings, path: Path) -> Schema:
    data = path.read_bytes()
    if settings.json is not None:
        from bridge.schemas.json_schema import JsonSchema

        return JsonSchema(data)
    if settings.avro is not None:
        from bridge.schemas.avro_schema import AvroSchema

        return AvroSchema(data)
    from bridge.schemas.protobuf_schema import from_descriptor_set

    return from_descriptor_set(data, settings.message or "")
