"""Desired states as Kafka carries them, checked and ready for the downlink log. Pure.

A record that is no desired state is refused with a reason, never with an exception that could stop those behind it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from bridge.log.record import DESIRED, TOMBSTONE, encode, encode_context

KEY_MAX_BYTES: Final = 256


class _Desired(msgspec.Struct):
    state: dict[str, msgspec.Raw]
    version: int | None = None


_decode = msgspec.json.Decoder(_Desired).decode


class NotDesired(ValueError):
    """The Kafka record is no desired state; the text says why, and quotes nothing of it."""


def encode_desired(key: bytes | None, value: bytes | None, offset: int, wall_ns: int, max_bytes: int) -> bytes:
    """The downlink record for one Kafka record (`offset` serves as the version where it says none).

    `value` is `{"version": 4, "state": {…}}` with the version optional, or None: the desired state is removed.

    Raises:
        NotDesired: key or value is not what it should be, or the value is longer than `max_bytes`.
    """
    context = encode_context(device_of(key), "", "")
    if value is None:
        return encode(DESIRED, TOMBSTONE, 0, wall_ns, 0, context, b"", b"")
    if len(value) > max_bytes:
        raise NotDesired(f"its value has {len(value)} bytes, more than {max_bytes}")
    return encode(DESIRED, 0, 0, wall_ns, 0, context, b"", _versioned(value, offset))


def device_of(key: bytes | None) -> str:
    """The device that a record of a downlink topic is for. Raises NotDesired: its key is no device id."""
    if not key or len(key) > KEY_MAX_BYTES:
        raise NotDesired("it has no key" if not key else f"its key has {len(key)} bytes")
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise NotDesired("its key is not UTF-8") from None


def _versioned(value: bytes, offset: int) -> bytes:
    try:
        desired = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotDesired(f"its value is no desired state: {error}") from None
    if desired.version is None:
        desired.version = offset
    if desired.version < 0:
        raise NotDesired("its version is negative")
    return msgspec.json.encode(desired)
