"""What the desired topic carries, checked and ready for the downlink log: desired states and labels. Pure.

A record that is neither is refused with a reason, never with an exception that could stop those behind it.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

import msgspec

from bridge.groups import GROUPS, BadLabels, check_group, check_labels
from bridge.groups import LABELS as LABELS_KEY
from bridge.log.record import DESIRED, LABELS, TOMBSTONE, encode, encode_context

KEY_MAX_BYTES: Final = 256


class _Desired(msgspec.Struct):
    state: dict[str, msgspec.Raw]
    version: int | None = None


class _Labels(msgspec.Struct):
    labels: dict[str, str]
    version: int | None = None


class _Versioned(Protocol):
    version: int | None


_Value = TypeVar("_Value", bound=_Versioned)
_DESIRED: Final = msgspec.json.Decoder(_Desired)
_LABELS: Final = msgspec.json.Decoder(_Labels)


class NotDesired(ValueError):
    """The Kafka record is no desired state; the text says why, and quotes nothing of its value."""


def encode_desired(
    key: bytes | None, value: bytes | None, offset: int, wall_ns: int, max_bytes: int, labels_max: int
) -> bytes:
    """The downlink record for one Kafka record (`offset` serves as the version where it says none).

    `value` is `{"version": 4, "state": {…}}` (the key is a device, or `group/NAME`), or for the key `labels/DEVICE`
    `{"version": 4, "labels": {…}}`, with the version optional, or None: it is removed.

    Raises:
        NotDesired: key or value is not what it should be, or the value is longer than `max_bytes`.
    """
    name = device_of(key)
    device = name.removeprefix(LABELS_KEY)
    kind = DESIRED if device == name else LABELS
    if not device:
        raise NotDesired("its key names no device")
    if device.startswith(GROUPS):
        _check_group(device.removeprefix(GROUPS))
    context = encode_context(device, "", "")
    if value is None:
        return encode(kind, TOMBSTONE, 0, wall_ns, 0, context, b"", b"")
    if len(value) > max_bytes:
        raise NotDesired(f"its value has {len(value)} bytes, more than {max_bytes}")
    body = _state(value, offset) if kind == DESIRED else _labels(value, offset, labels_max)
    return encode(kind, 0, 0, wall_ns, 0, context, b"", body)


def device_of(key: bytes | None) -> str:
    """The device that a record of a downlink topic is for. Raises NotDesired: its key is no device id."""
    if not key or len(key) > KEY_MAX_BYTES:
        raise NotDesired("it has no key" if not key else f"its key has {len(key)} bytes")
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise NotDesired("its key is not UTF-8") from None


def _check_group(name: str) -> None:
    try:
        check_group(name)
    except BadLabels as error:
        raise NotDesired(str(error)) from None


def _state(value: bytes, offset: int) -> bytes:
    return msgspec.json.encode(_decoded(value, _DESIRED, offset, "desired state"))


def _labels(value: bytes, offset: int, most: int) -> bytes:
    found = _decoded(value, _LABELS, offset, "set of labels")
    try:
        check_labels(found.labels, most)
    except BadLabels as error:
        raise NotDesired(str(error)) from None
    return msgspec.json.encode(found)


def _decoded(value: bytes, decoder: msgspec.json.Decoder[_Value], offset: int, what: str) -> _Value:
    try:
        found = decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotDesired(f"its value is no {what}: {error}") from None
    if found.version is None:
        found.version = offset
    if found.version < 0:
        raise NotDesired("its version is negative")
    return found
