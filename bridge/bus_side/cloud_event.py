"""CloudEvents 1.0 in Kafka's binary mode: the value stays the payload, the attributes are headers named `ce_…`.

By the CloudEvents Kafka protocol binding 1.0.2, §3.2: `content-type` is the attribute `datacontenttype`, every other
attribute a header with `ce_` before its name, in UTF-8. Pure. What differs from record to record, `ce_id` and
`ce_time`, is made where the record is written.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from bridge.config import CloudEvents

Header = tuple[str, bytes]

CONTENT_TYPE: Final = "content-type"
OPAQUE: Final = b"application/octet-stream"
"""What a sealed payload is to whoever cannot open it."""
INNER: Final = "ce_innercontenttype"
"""Our extension: the content type that the device gave, where it does not describe the value as it stands there."""

_MEDIA_TYPE = re.compile(rb"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}([ \t]*;[ -~]*)?")
_STRUCTURED = b"application/cloudevents"
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
"""Characters that no attribute may hold (CloudEvents §3.1, String)."""


def constant_headers(
    settings: CloudEvents, own: Sequence[Header], *, gateway: str, device: str, topic: str, key: bytes, sealed: bool
) -> list[Header]:
    """The attributes that all records of a stream share, then `own` with the content type that describes the value.

    Args:
        settings: of the route.
        own: what the message brought along.
        topic: of MQTT.
        key: of the record; empty: it has none.
        sealed: the value is not what the device sent.
    """
    names = {"{gateway}": gateway, "{device}": device, "{topic}": topic}
    attributes = {
        "ce_specversion": "1.0",
        "ce_type": _filled(settings.type, names),
        "ce_source": _filled(settings.source, {name: quote(text) for name, text in names.items()}),
        "ce_subject": _filled(settings.subject, names),
        "ce_dataschema": settings.dataschema or "",
    }
    headers = [(name, text.encode()) for name, text in attributes.items() if text]
    if key:
        headers.append(("ce_partitionkey", _clean(key.decode()).encode()))
    return [*headers, *_described(own, sealed=sealed)]


def changing_headers(id_prefix: bytes, seq: int, ms: int) -> list[Header]:
    """What is the record's own: `ce_id`, one for each record that there ever was, and `ce_time` (Unix ms in)."""
    return [("ce_id", b"%s%d" % (id_prefix, seq)), ("ce_time", rfc3339(ms))]


def rfc3339(ms: int) -> bytes:
    """Unix milliseconds as RFC 3339 in UTC, as `2026-11-21T13:05:00.123Z`."""
    second, rest = divmod(ms, 1000)
    return b"%s.%03dZ" % (_second(second), rest)


@lru_cache(maxsize=256)
def _second(second: int) -> bytes:
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=second)
    return moment.isoformat(timespec="seconds").encode()


def _filled(text: str, names: dict[str, str]) -> str:
    """Each placeholder once: what a device is called is never looked at for further ones."""
    return _clean(re.sub(r"\{(gateway|device|topic)\}", lambda match: names[match[0]], text))


def _clean(text: str) -> str:
    return _FORBIDDEN.sub(lambda match: quote(match[0]), text)


def _described(own: Sequence[Header], *, sealed: bool) -> list[Header]:
    """A content type that misleads the reader is set aside: of what is sealed, or of an event within this event.

    `application/cloudevents…` would be read as the structured mode (binding §3), and so let a device speak in the
    gateway's name; what is no media type at all is no `datacontenttype`.
    """
    given = next((value for name, value in own if name == CONTENT_TYPE), None)
    rest = [header for header in own if header[0] != CONTENT_TYPE]
    if given is None:
        return [(CONTENT_TYPE, OPAQUE), *rest] if sealed else rest
    honest = _MEDIA_TYPE.fullmatch(given) is not None and not given.lower().startswith(_STRUCTURED)
    if honest and not sealed:
        return [(CONTENT_TYPE, given), *rest]
    return [(CONTENT_TYPE, OPAQUE), (INNER, _clean(given.decode(errors="replace")).encode()), *rest]
