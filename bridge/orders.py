"""Orders: commands as their senders write them into Kafka, checked, and as the downlink log carries them. Pure.

What is no command is not dropped: it becomes an order with a fault, so that its sender hears of it.
"""

from __future__ import annotations

import datetime
import re
from typing import Final, Literal

import msgspec

ID_MAX: Final = 128
"""Characters of a command's id: it is a level of an MQTT topic."""
_ID = re.compile(rf"[^/+#\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{ID_MAX}}}")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_NS_PER_US = 1000


class Sent(msgspec.Struct, omit_defaults=True):
    """What a sender writes; anything else in it is passed over."""

    id: str
    name: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"")
    """JSON; empty: none."""
    deadline: str | None = None
    """RFC 3339: from then on it is not delivered, and its answer is not waited for any more."""
    qos: Literal[0, 1, 2] = 1
    """At which it is delivered at the most; what the device has subscribed with counts too."""
    response: bool = True
    """Whether the device's answer is waited for; without, it has succeeded as soon as the device has it."""
    concurrency: Literal["parallel", "serial"] = "parallel"
    """`serial`: delivered when all earlier ones of the device are over, and later ones wait for its end."""
    cancel: bool = False
    """Takes the command with this id back."""


class Order(Sent, omit_defaults=True):
    """What was sent, and what is wrong with it."""

    record: str = ""
    """PARTITION:OFFSET of the Kafka record."""
    fault: str = ""
    """Not empty: why it is refused. The id may be empty then."""
    group: str = ""
    """Not empty: it came to the device by way of this group."""

    @property
    def key(self) -> str:
        """Tells a device's orders apart: the id, or what cannot be one."""
        return self.id or f"/{self.record}"


class _OnlyId(msgspec.Struct):
    id: str = ""


_decode_sent = msgspec.json.Decoder(Sent).decode
_decode_id = msgspec.json.Decoder(_OnlyId).decode
_NONSENSE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
encode: Final = msgspec.json.Encoder().encode
decode: Final = msgspec.json.Decoder(Order).decode
"""Raises msgspec.DecodeError, RecursionError."""


def read(value: bytes | None, record: str, max_bytes: int) -> Order:
    """The order in a Kafka record's value; whatever stands there, it is one, perhaps with a fault."""
    if value is None:
        return Order("", record=record, fault="the record has no value")
    if len(value) > max_bytes:
        return Order(_id_of(value), record=record, fault=f"it has {len(value)} bytes, more than {max_bytes}")
    try:
        sent = _decode_sent(value)
    except _NONSENSE as error:
        return Order(_id_of(value), record=record, fault=f"it is no command: {error}")
    order = Order(**{name: getattr(sent, name) for name in Sent.__struct_fields__}, record=record)
    order.fault = _fault(order)
    if not _ID.fullmatch(order.id):
        order.id = ""
    return order


def deadline_ns(text: str) -> int:
    """Nanoseconds since the Unix epoch. Raises ValueError: not RFC 3339 with its offset from UTC."""
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return (moment - _EPOCH) // _MICROSECOND * _NS_PER_US
    except (ValueError, OverflowError):
        pass
    raise ValueError("its deadline is no RFC 3339 time with an offset, as 2026-01-31T12:00:00Z")


def _id_of(value: bytes) -> str:
    try:
        found = _decode_id(value).id
    except _NONSENSE:
        return ""
    return found if _ID.fullmatch(found) else ""


def _fault(sent: Sent) -> str:
    if not _ID.fullmatch(sent.id):
        return f"its id is not 1 to {ID_MAX} characters without / + # and control characters"
    if not sent.cancel and not sent.name:
        return "it has no name"
    if sent.deadline is not None:
        try:
            deadline_ns(sent.deadline)
        except ValueError as error:
            return str(error)
    return ""
