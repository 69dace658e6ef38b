"""What devices are told of themselves: retained messages that nobody keeps, for documents make them. Pure.

Two topics a device: what is desired of it, and what of that it does not have yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from bridge.device_side.documents import Document
from bridge.message import Message
from bridge.mqtt.topics import matches

NAMES = ("desired", "delta")


def topic_of(device: str, name: str) -> str:
    """Where a device finds it."""
    return f"devices/{device}/state/{name}"


def messages_of(document: Document, names: Sequence[str] = NAMES) -> Iterator[Message]:
    """What the device is told as long as its document is this."""
    if document.desired is None:
        return
    for name in names:
        state = document.desired.state if name == "desired" else document.delta
        body = msgspec.json.encode({"version": document.desired.version, "state": state})
        yield Message(topic_of(document.device, name), body, qos=1, retain=True)


def messages_on(topic_filter: str, documents: Iterable[Document]) -> Iterator[Message]:
    """What these devices are told on the topics that a valid filter matches."""
    for document in documents:
        yield from (message for message in messages_of(document) if matches(topic_filter, message.topic))


def devices_in(topic_filter: str) -> list[str] | None:
    """Ids of devices whose topics a valid filter may match; None: it may be any device's.

    An id of several levels (client ids of anonymous devices may be such) is found by all of its levels or by none.
    """
    first, *levels = topic_filter.split("/")
    if first == "#":
        return None
    if first not in ("devices", "+") or not levels:
        return []
    if levels[0] in ("+", "#"):
        return None
    found = []
    for count, level in enumerate(levels, 1):
        if level in ("+", "#"):
            break
        found.append("/".join(levels[:count]))
    return found
