"""What a Confluent Schema Registry answers, over HTTP. Blocks: it is called on the registry's own thread."""

from __future__ import annotations

import base64
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from bridge.config import SchemaRegistry as Settings
from bridge.credentials import SecretError, secret

_NOT_FOUND: Final = 404
_TYPE: Final = "application/vnd.schemaregistry.v1+json"


class Unreachable(Exception):
    """Nobody can say now; the text says why."""


class Unknown(Exception):
    """The registry says that there is no such schema or subject."""


class Registered(msgspec.Struct, frozen=True):
    """A schema as the registry has it; kept on disk in this form."""

    id: int
    kind: str
    """`AVRO`, `JSON` or `PROTOBUF`."""
    schema: str
    """JSON; of protobuf the FileDescriptorProto in base64."""
    subjects: tuple[str, ...] = ()
    """That it belonged to when it was asked for."""
    references: bool = False
    """It is not whole without other schemas."""


class _Schema(msgspec.Struct):
    schema: str
    schemaType: str = "AVRO"  # noqa: N815  (the registry's name)
    references: list[Any] = []


class _Version(msgspec.Struct):
    id: int


class _Use(msgspec.Struct):
    subject: str


class RegistryClient:
    """One registry."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        """`environ`: says where systemd's credentials are."""
        self._settings = settings
        self._environ = environ

    def latest_id(self, subject: str) -> int:
        """The id of the subject's latest schema. Raises Unreachable, Unknown."""
        version: _Version = self._get(f"subjects/{quote(subject, safe='')}/versions/latest", _Version)
        return version.id

    def by_id(self, schema_id: int) -> Registered:
        """Raises Unreachable, Unknown."""
        place = f"schemas/ids/{schema_id}"
        found = self._get(place, _Schema)
        text = found.schema
        if found.schemaType == "PROTOBUF":
            # The text of a .proto file could be read by protoc alone.
            text = self._get(f"{place}?format=serialized", _Schema).schema
        return Registered(schema_id, found.schemaType, text, self._subjects(place), bool(found.references))

    def _subjects(self, place: str) -> tuple[str, ...]:
        """Empty where a registry is too old to say."""
        try:
            return tuple(use.subject for use in self._get(f"{place}/versions", list[_Use]))
        except Unknown:
            return ()

    def _get(self, place: str, kind: type[Any]) -> Any:
        url = f"{self._settings.url.rstrip('/')}/{place}"
        try:
            request = urllib.request.Request(url, headers={"Accept": _TYPE, **self._account()})
            with self._opener().open(request, timeout=self._settings.timeout) as answer:
                data = answer.read(self._settings.answer_bytes + 1)
        except urllib.error.HTTPError as error:
            if error.code == _NOT_FOUND:
                raise Unknown(f"{url} is not there") from None
            raise Unreachable(f"{url}: {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise Unreachable(f"{url} cannot be reached: {error.reason}") from None
        except (OSError, SecretError, ValueError) as error:
            raise Unreachable(f"{url}: {error}") from None
        if len(data) > self._settings.answer_bytes:
            raise Unreachable(f"{url}: the answer is larger than schema_registry.answer_bytes")
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unreachable(f"{url} gave an answer that is none: {error}") from None

    def _account(self) -> dict[str, str]:
        settings = self._settings
        if settings.username is None or settings.password_file is None:
            return {}
        pair = f"{settings.username}:{secret(settings.password_file, self._environ)}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def _opener(self) -> urllib.request.OpenerDirector:
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if self._settings.url.startswith("https:"):
            context = ssl.create_default_context(cafile=self._settings.ca)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        return urllib.request.build_opener(*handlers)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The password goes where the configuration says, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None
