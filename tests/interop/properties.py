"""The properties of MQTT 5 that tests on the wire speak of, written and read here anew: nothing of ours."""

from __future__ import annotations

EXPIRY, SUBSCRIPTION_IDENTIFIER, ASSIGNED_CLIENT_ID, SERVER_KEEP_ALIVE = 0x11, 0x0B, 0x12, 0x13
REQUEST_RESPONSE_INFORMATION, RESPONSE_INFORMATION, RESPONSE_TOPIC, CORRELATION = 0x19, 0x1A, 0x08, 0x09
RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM, TOPIC_ALIAS, MAXIMUM_PACKET_SIZE = 0x21, 0x22, 0x23, 0x27
_BYTES = {0x11: 4, 0x13: 2, 0x19: 1, 0x21: 2, 0x22: 2, 0x23: 2, 0x27: 4, 0x2A: 1}
_TEXTS = {0x08, 0x12, 0x1A, 0x1F}
_BINARY = {0x09}

Properties = dict[int, int | str | bytes]


def encode(properties: Properties) -> bytes:
    """With their length before them (MQTT5 §2.2.2); 127 bytes at the most."""
    body = b""
    for identifier, value in properties.items():
        raw = value.encode() if isinstance(value, str) else value
        size = _BYTES.get(identifier, 1)
        body += bytes([identifier]) + (
            raw.to_bytes(size, "big") if isinstance(raw, int) else len(raw).to_bytes(2, "big") + raw
        )
    assert len(body) < 128
    return bytes([len(body)]) + body


def decode(data: bytes) -> tuple[Properties, bytes]:
    """Those at the beginning of `data`, and what follows them. A subscription identifier must be below 128."""
    found: Properties = {}
    at, end = 1, 1 + data[0]
    assert data[0] < 128
    while at < end:
        identifier = data[at]
        if identifier in _TEXTS | _BINARY:
            length = int.from_bytes(data[at + 1 : at + 3], "big")
            raw = data[at + 3 : at + 3 + length]
            found[identifier] = raw.decode() if identifier in _TEXTS else raw
            at += 3 + length
        else:
            size = _BYTES[identifier] if identifier != SUBSCRIPTION_IDENTIFIER else 1
            found[identifier] = int.from_bytes(data[at + 1 : at + 1 + size], "big")
            at += 1 + size
    return found, data[end:]
