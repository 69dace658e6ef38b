"""Refused: the event by which whoever sent an older desired state than the device has can know of it."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from bridge.device_side.clock import Clock
from bridge.log.record import CLOCK_SYNCHRONISED, EVENT, encode, encode_context

_log = logging.getLogger(__name__)
DESIRED_REFUSED: Final = "desired-refused"


class Refused(msgspec.Struct, frozen=True):
    """The event's value."""

    type: str
    at: str
    gateway: str
    device: str
    version: int
    known: int
    """The version that the device has."""


def encode_refused(device: str, version: int, known: int, *, gateway: str, topic: str, clock: Clock) -> bytes:
    """The record for the log, and a line in the other one; `topic` is the event topic."""
    _log.warning("device=%s: desired version %d is refused, there is %d", device, version, known)
    event = Refused(DESIRED_REFUSED, clock.instant(), gateway, device, version, known)
    flags, context = CLOCK_SYNCHRONISED if clock.synchronised() else 0, encode_context(device, "", topic)
    return encode(EVENT, flags, 0, clock.wall_ns(), clock.mono_ns(), context, b"", msgspec.json.encode(event))
