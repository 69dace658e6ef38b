"""A command on its way to its device: what is known of it, when it may be sent, and what is said of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final, Literal

import msgspec

from bridge.message import Message
from bridge.mqtt.properties import Property
from bridge.mqtt.session_state import Outgoing
from bridge.orders import Order

Word = Literal["queued", "delivered", "succeeded", "failed", "expired", "cancelled", "refused"]
FINAL: Final = frozenset({"succeeded", "failed", "expired", "cancelled", "refused"})
_NULL: Final = msgspec.Raw(b"null")
_REFUSED, _TOO_LARGE = 0x80, 0x95
_WORST_FIRST: Final[tuple[Word, ...]] = ("failed", "expired", "refused", "cancelled", "succeeded")


class Stage(IntEnum):
    """How far a command has come."""

    WAITING = 0
    SENT = 1
    """In the device's session: queued, or sent and not acknowledged."""
    HAD = 2
    """The device has acknowledged it."""


class Command(msgspec.Struct):
    """One that is not over."""

    device: str
    order: Order
    number: int
    """Rises from one to the next."""
    deadline_ns: int | None
    """Unix nanoseconds, its own or, where it has none, the gateway's; None: not known before the clock is set."""
    stage: Stage = Stage.WAITING

    @property
    def key(self) -> tuple[str, str]:
        """Device and id."""
        return self.device, self.order.id


class Verdict(msgspec.Struct, frozen=True):
    """What is to be said of a command."""

    word: Word
    detail: str = ""
    payload: msgspec.Raw = _NULL
    devices: int | msgspec.UnsetType = msgspec.UNSET
    """Of a command to a group: how many have it."""
    counts: dict[Word, int] | msgspec.UnsetType = msgspec.UNSET
    """Of a command to a group: devices by final outcome."""


class Outcome(msgspec.Struct, frozen=True):
    """The value of the outcome record."""

    id: str | None
    outcome: Word
    at: str
    payload: msgspec.Raw
    detail: str | None
    record: str
    """PARTITION:OFFSET of the command's record."""
    group: str | msgspec.UnsetType = msgspec.UNSET
    """By way of which it came to the device."""
    devices: int | msgspec.UnsetType = msgspec.UNSET
    counts: dict[Word, int] | msgspec.UnsetType = msgspec.UNSET


class _Answer(msgspec.Struct):
    status: Literal["succeeded", "failed"]
    payload: msgspec.Raw = _NULL


class _Body(msgspec.Struct, omit_defaults=True):
    """What the device reads."""

    id: str
    name: str
    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    deadline: str | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


def ready(commands: Iterable[Command], most: int, *, clock_is_right: bool) -> list[Command]:
    """Those of one device's commands, oldest first, that may be sent now; with those under way `most` at the most."""
    found: list[Command] = []
    under_way = 0
    for position, command in enumerate(commands):
        serial = command.order.concurrency == "serial"
        if serial and position:
            break
        if command.stage is Stage.WAITING and (clock_is_right or command.order.deadline is None):
            found.append(command)
        under_way += command.stage is Stage.SENT
        if serial or under_way + len(found) >= most:
            break
    return found


def topic_of(device: str, command_id: str) -> str:
    """Where a device finds a command."""
    return f"devices/{device}/commands/{command_id}"


def id_of_result(device: str, topic: str) -> str | None:
    """The id of the command that a publication on `topic` answers; None: it answers none."""
    prefix, suffix = topic_of(device, ""), "/result"
    if not topic.startswith(prefix) or not topic.endswith(suffix):
        return None
    found = topic[len(prefix) : -len(suffix)]
    return found if found and "/" not in found else None


def message_of(command: Command) -> Message:
    """What the device gets. The response topic and the correlation data are for MQTT 5 (§4.10)."""
    order = command.order
    topic = topic_of(command.device, order.id)
    payload = order.payload if bytes(order.payload) else msgspec.UNSET
    body = msgspec.json.encode(_Body(order.id, order.name, payload, order.deadline))
    properties: dict[int, object] = {Property.CONTENT_TYPE: "application/json"}
    if order.response:
        properties |= {Property.RESPONSE_TOPIC: f"{topic}/result", Property.CORRELATION_DATA: order.id.encode()}
    return Message(topic, body, order.qos, properties=properties)


def judged(item: Outgoing, order: Order) -> Verdict | None:
    """What the device's acknowledgement says of a command; None: nothing final."""
    if item.answer < 0:
        return None
    if item.answer == _TOO_LARGE:
        return Verdict("refused", "the device takes no packet of that size")
    if item.answer >= _REFUSED:
        return Verdict("failed", f"the device refused the message (0x{item.answer:02X})")
    return None if order.response else Verdict("succeeded")


def answered(payload: bytes, max_bytes: int) -> Verdict:
    """What the device says became of a command. What is too long for Kafka is an answer, and a bad one."""
    if len(payload) > max_bytes:
        return Verdict("failed", f"the device's answer has {len(payload)} bytes, more than {max_bytes}")
    try:
        answer = _decode_answer(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Verdict("failed", f'the device\'s answer is not {{"status", "payload"}}: {error}')
    return Verdict(answer.status, "", answer.payload)


def late(command: Command) -> Verdict:
    """Its deadline has come."""
    how = {
        Stage.WAITING: "not delivered",
        Stage.SENT: "sent, and not acknowledged",
        Stage.HAD: "delivered, and not answered",
    }
    return Verdict("expired", f"{how[command.stage]} in time")


def cancelled(command: Command) -> Verdict:
    """A later record takes it back."""
    how = {
        Stage.WAITING: "not delivered",
        Stage.SENT: "sent, and not acknowledged",
        Stage.HAD: "delivered; its answer is not waited for any more",
    }
    return Verdict("cancelled", how[command.stage])


def summed_up(counts: Mapping[str, int], *, cancelled: bool) -> Verdict:
    """What is said of a command to a group when all its devices are done with it: the worst that happened to one.

    Args:
        counts: devices by final outcome.
        cancelled: a later record took it back.
    """
    told = {word: counts[word] for word in reversed(_WORST_FIRST) if counts.get(word)}
    devices = sum(told.values())
    if cancelled:
        return Verdict("cancelled", devices=devices, counts=told)
    if not devices:
        return Verdict("refused", "no device of this gateway is in the group", devices=0, counts=told)
    return Verdict(next(word for word in _WORST_FIRST if word in told), devices=devices, counts=told)
