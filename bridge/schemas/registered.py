"""A registered schema as it is used: what judges a value, and what stands before it in the wire format."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from bridge.schemas import wire_format
from bridge.schemas.avro_schema import AvroSchema
from bridge.schemas.json_schema import JsonSchema
from bridge.schemas.protobuf_schema import ProtobufFile
from bridge.schemas.registry_client import Registered
from bridge.schemas.schema import UNAVAILABLE, Misfit, Schema, SchemaError


class Usable:
    """Of one id."""

    def __init__(self, schema_id: int, whole: Schema | ProtobufFile) -> None:
        self.id = schema_id
        self._whole = whole
        self._named: dict[str | None, tuple[Schema, bytes]] = {}

    def judge_framed(self, payload: bytes) -> None:
        """A payload that begins with this id. Raises Misfit."""
        if not isinstance(self._whole, ProtobufFile):
            self._whole.fit(payload[wire_format.PREFIX_BYTES :])
            return
        indexes, at = wire_format.indexes_at(payload, wire_format.PREFIX_BYTES)
        schema = self._whole.at(indexes)
        if schema is None:
            raise Misfit(f"schema {self.id} has no message at {list(indexes)}")
        schema.fit(payload[at:])

    def framed(self, payload: bytes, message: str | None) -> bytes:
        """The payload with its prefix; `message`: of protobuf, None is the first one. Raises Misfit."""
        found = self._named.get(message)
        if found is None:
            found = self._named[message] = self._framing(message)
        schema, prefix = found
        return prefix + schema.fit(payload)

    def _framing(self, message: str | None) -> tuple[Schema, bytes]:
        if not isinstance(self._whole, ProtobufFile):
            return self._whole, wire_format.prefix(self.id)
        try:
            schema = self._whole.named(message)
        except SchemaError as error:
            raise Misfit(f"schema {self.id}: {error}", UNAVAILABLE) from error
        return schema, wire_format.prefix(self.id, schema.indexes)


def usable(registered: Registered) -> Usable:
    """Raises SchemaError."""
    kinds: dict[str, Callable[[str], Schema | ProtobufFile]] = {
        "AVRO": lambda text: AvroSchema(text.encode()),
        "JSON": lambda text: JsonSchema(text.encode()),
        "PROTOBUF": _protobuf,
    }
    make = kinds.get(registered.kind)
    try:
        if make is None:
            raise SchemaError(f"its kind {registered.kind!r} is not known here")
        if registered.references:
            raise SchemaError("it refers to other schemas, which is not supported")
        return Usable(registered.id, make(registered.schema))
    except SchemaError as error:
        raise SchemaError(f"schema {registered.id} cannot be used: {error}") from error


def _protobuf(text: str) -> ProtobufFile:
    try:
        return ProtobufFile(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise SchemaError("the registry does not give it in its serialized form") from error
