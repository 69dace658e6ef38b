"""JSON Schema (drafts 4 to 2020-12), by `jsonschema-rs`.

Patterns run in an engine without backtracking, so that no payload can make one take long (a pattern that needs
look-around is an error of the schema). Nothing is fetched: a schema is one document.
"""

from __future__ import annotations

import jsonschema_rs
import msgspec

from bridge.schemas.schema import Misfit, SchemaError


class JsonSchema:
    """See `schema.Schema`."""

    def __init__(self, text: bytes) -> None:
        """Raises SchemaError."""
        try:
            document = msgspec.json.decode(text)
            if not isinstance(document, dict | bool):
                raise SchemaError("a JSON Schema is an object, true or false")
            self._validator = jsonschema_rs.validator_for(
                document, pattern_options=jsonschema_rs.RegexOptions(), offline=True
            )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SchemaError(f"it is not JSON: {error}") from error
        except ValueError as error:  # (jsonschema_rs.ValidationError is one)
            raise SchemaError(" ".join(str(error).partition("\n\nOn instance")[0].split())) from error
        self._decode = msgspec.json.Decoder().decode

    def fit(self, payload: bytes) -> bytes:
        """See `Schema.fit`. msgspec bounds the depth."""
        try:
            value = self._decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Misfit(f"it is not JSON: {_place(error)}") from error
        except RecursionError as error:
            raise Misfit("it is nested too deeply") from error
        try:
            if self._validator.is_valid(value):
                return payload
        except ValueError as error:
            raise Misfit("it holds a value that JSON Schema cannot judge") from error
        raise Misfit(f"it does not keep to #/{self._broken(value)} of the JSON Schema")

    def _broken(self, value: object) -> str:
        first = next(iter(self._validator.iter_errors(value)), None)
        return "/".join(map(str, first.schema_path)) if first is not None else ""


def _place(error: Exception) -> str:
    """Where it ends to be JSON; what stands there is the device's."""
    return str(error) if isinstance(error, msgspec.DecodeError) else "it is not UTF-8"
