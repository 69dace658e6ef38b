"""Avro's binary encoding, by `fastavro`: the payload is one value and nothing else.

Two kinds of schemas are refused, because a few bytes of payload could do any harm with them: one that holds itself (the
reader's stack has no bound), and an array of what takes no bytes (its length is any number).
"""

from __future__ import annotations

import io
from typing import Any

import fastavro
import msgspec

from bridge.schemas.schema import Misfit, SchemaError

_NAMED = ("record", "error", "enum", "fixed")


class AvroSchema:
    """See `schema.Schema`."""

    def __init__(self, text: bytes) -> None:
        """Raises SchemaError."""
        try:
            document = msgspec.json.decode(text)
            _Bounded().bytes_least(document, "")
            self._schema = fastavro.parse_schema(document)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SchemaError(f"it is not JSON: {error}") from error
        except RecursionError as error:
            raise SchemaError("it is nested too deeply") from error
        except SchemaError:
            raise
        except Exception as error:  # fastavro raises what its walk over a wrong document comes to
            raise SchemaError(f"it is no Avro schema: {error or type(error).__name__}") from error

    def fit(self, payload: bytes) -> bytes:
        """See `Schema.fit`."""
        source = io.BytesIO(payload)
        try:
            fastavro.schemaless_reader(source, self._schema, None)
        except Exception as error:  # fastavro raises EOFError, IndexError, UnicodeDecodeError, OverflowError and others
            raise Misfit(f"it is no Avro value of the schema ({type(error).__name__})") from error
        rest = len(payload) - source.tell()
        if rest:
            raise Misfit(f"{rest} bytes follow the Avro value")
        return payload


class _Bounded:
    """A walk over a schema that finds the two harmful kinds."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._open: set[str] = set()

    def bytes_least(self, schema: Any, space: str) -> int:
        """How many bytes a value takes at least. Raises SchemaError."""
        if isinstance(schema, str):
            return self._of_name(schema, space)
        if isinstance(schema, list):
            return 1 + min((self.bytes_least(branch, space) for branch in schema), default=0)
        if not isinstance(schema, dict):
            return 0
        kind = schema.get("type")
        if kind == "array" and self.bytes_least(schema.get("items"), space) == 0:
            raise SchemaError("an array of what takes no bytes has any length in a few bytes")
        if kind == "map":
            self.bytes_least(schema.get("values"), space)
        if kind in _NAMED:
            return self._of_named(schema, str(kind), space)
        return 1 if kind in ("array", "map") else self.bytes_least(kind, space)

    def _of_name(self, name: str, space: str) -> int:
        full = _full_name(name, space)
        for candidate in (full, name):
            if candidate in self._open:
                raise SchemaError(f"{candidate} holds itself, so that the depth of a value has no bound")
            if candidate in self._known:
                return self._known[candidate]
        return {"null": 0, "float": 4, "double": 8}.get(name, 1)

    def _of_named(self, schema: dict[str, Any], kind: str, space: str) -> int:
        name = _full_name(str(schema.get("name", "")), str(schema.get("namespace", space)))
        inner = name.rpartition(".")[0]
        if kind == "enum":
            least = 1
        elif kind == "fixed":
            size = schema.get("size", 0)
            least = size if isinstance(size, int) else 0
        else:
            self._open.add(name)
            fields = schema.get("fields") or ()
            least = sum(self.bytes_least(field.get("type"), inner) for field in fields if isinstance(field, dict))
            self._open.discard(name)
        self._known[name] = least
        return least


def _full_name(name: str, space: str) -> str:
    return name if "." in name or not space else f"{space}.{name}"
