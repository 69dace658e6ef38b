"""Last words: what the server says when it ends a connection, CONNACK that refuses or DISCONNECT."""

from __future__ import annotations

from bridge.mqtt import packets, reasons
from bridge.mqtt.encode import encode
from bridge.mqtt.packets import Properties
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason, return_code


def refusal(version: int, reason: int, text: str, max_bytes: float) -> bytes:
    """CONNACK; 3.1.1 gets its nearest return code, or none at all: empty. At most `max_bytes`."""
    if version >= 5:
        reason = reason if reason in reasons.CONNACK else Reason.UNSPECIFIED_ERROR
        return _shortened(packets.Connack, version, reason, text, max_bytes)
    if version and return_code(reason) is not None:
        return encode(packets.Connack(reason), version)
    return b""


def disconnect(version: int, reason: int, text: str, max_bytes: float) -> bytes:
    """DISCONNECT, which only MQTT 5 has from a server; else empty. At most `max_bytes`."""
    return _shortened(packets.Disconnect, version, reason, text, max_bytes) if version >= 5 else b""


def _shortened(
    kind: type[packets.Connack | packets.Disconnect], version: int, reason: int, text: str, max_bytes: float
) -> bytes:
    """Its text is left out where it makes the packet too large [MQTT-3.14.2-3]; empty where even that is."""
    texts: Properties = {Property.REASON_STRING: text} if text else {}
    for properties in (texts, {}):
        data = encode(kind(reason=reason, properties=properties), version)
        if len(data) <= max_bytes:
            return data
    return b""
