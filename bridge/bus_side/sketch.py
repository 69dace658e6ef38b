"""Sketches: of a document as much as decides which of two is the newer one, and whether it can be believed. Pure."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec


class Presence(msgspec.Struct, gc=False):
    """Of a device's document; instants are RFC 3339 in UTC with milliseconds, so as text they sort as in time."""

    state: str = ""
    gateway: str = ""
    gateway_epoch: int = 0
    connected: str | None = None
    lease_until: str | None = None


class Half(msgspec.Struct, gc=False):
    """Reported or desired."""

    version: int = 0
    at: str = ""
    own: Half | msgspec.UnsetType | None = msgspec.UNSET
    """See `desired.Desired` of the device side."""


class Ground(msgspec.Struct, gc=False):
    """On the gateway only; see `documents.Ground` of the device side."""

    base: int = 0
    count: int = 0


class Verdict(enum.Enum):
    """Of a document that is to be written, by what stands in the topic."""

    SEND = enum.auto()
    LEAVE = enum.auto()
    """It says nothing of a connection to this gateway, and there is one that does."""
    BEHIND = enum.auto()
    """It was made without knowing what stands there."""
    OVERTAKEN = enum.auto()
    """The device has connected to another gateway since."""


class Sketch(msgspec.Struct, gc=False):
    """Of a device's document, or of a gateway's record (`epoch` and what follows)."""

    presence: Presence | None = None
    reported: Half | None = None
    desired: Half | None = None
    labels_version: int = -1
    ground: Ground | None = None
    epoch: int = 0
    lease_until: str = ""
    started: str = ""

    @property
    def gateway(self) -> str:
        """Whose word on the device it is; empty: nobody's."""
        return self.presence.gateway if self.presence is not None else ""

    @property
    def connected(self) -> str:
        """When the connection began that it is about."""
        return (self.presence.connected or "") if self.presence is not None else ""

    @property
    def is_ungrounded(self) -> bool:
        """Made where nothing was known of the device's earlier reports."""
        return self.ground is not None and self.ground.base == 0

    @property
    def reports(self) -> bool:
        """The device has reported something on the connection that this is about."""
        return self.ground is not None and self.ground.count > 0

    @property
    def reported_version(self) -> int:
        return self.reported.version if self.reported is not None else 0

    @property
    def desired_version(self) -> int:
        return self.desired.version if self.desired is not None else 0

    @property
    def own_version(self) -> int:
        """Of the device's own desired state, without what its groups add."""
        half = self.desired
        if half is not None and half.own is not msgspec.UNSET:
            half = half.own
        return half.version if half is not None else 0


_decode = msgspec.json.Decoder(Sketch).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_GROUND: Final = b'"ground":'


def sketch_of(value: bytes) -> Sketch:
    """What somebody else wrote and is no document says nothing."""
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Sketch()


def without_ground(payload: bytes) -> bytes:
    """The document as readers of the topic get it."""
    if _GROUND not in payload:
        return payload
    try:
        fields: dict[str, Any] = _decode_fields(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payload
    fields.pop("ground", None)
    return msgspec.json.encode(fields)


def lease_over(document: Sketch, gateways: Mapping[str, Sketch], before: str) -> bool:
    """Whether a document says `online` and nobody stands for that any more.

    Args:
        document: of a device.
        gateways: the gateways' own records, by id.
        before: leases that ended before this instant are over: now, less what clocks may differ.
    """
    presence = document.presence
    if presence is None or presence.state != "online" or (presence.lease_until or "") >= before:
        return False
    gateway = gateways.get(presence.gateway)
    if gateway is None or gateway.epoch < presence.gateway_epoch:
        return True
    if gateway.epoch == presence.gateway_epoch:
        return gateway.lease_until < before
    # It was started again and has had time enough to say something else.
    return gateway.started < before


def lease_end(document: Sketch, gateways: Mapping[str, Sketch]) -> str:
    """Since when nobody stands for a document that says `online`."""
    presence = document.presence or Presence()
    gateway = gateways.get(presence.gateway)
    same = gateway is not None and gateway.epoch == presence.gateway_epoch
    return max(presence.lease_until or "", gateway.lease_until if same and gateway is not None else "")


def swept(value: bytes, gateways: Mapping[str, Sketch]) -> bytes:
    """The document, of which `lease_over` is true, as `unknown`: still its own gateway's word, which that may renew."""
    fields: dict[str, Any] = msgspec.json.decode(value)
    fields["presence"] |= {
        "state": "unknown",
        "since": lease_end(sketch_of(value), gateways) or fields["presence"]["since"],
        "reason": "lease-over",
        "lease_until": None,
    }
    return msgspec.json.encode(fields)


def verdict(own: Sketch, known: Sketch, names: Collection[str]) -> Verdict:
    """What is to become of `own`, a document of ours.

    Args:
        own: with its ground, as the device side made it.
        known: what the topic has of the device.
        names: our own ids.
    """
    if known.presence is None:
        return Verdict.SEND
    if own.gateway not in names:
        return Verdict.LEAVE
    if known.gateway in names:
        # In the order of one gateway nothing is older than what it wrote before, unless its disk is.
        lost = own.connected < known.connected or own.reported_version < known.reported_version
        return Verdict.BEHIND if lost else Verdict.SEND
    if (known.connected, known.gateway) > (own.connected, own.gateway):
        return Verdict.OVERTAKEN
    base = own.ground.base if own.ground is not None else own.reported_version
    if known.reported_version != base or known.desired_version > own.desired_version:
        return Verdict.BEHIND
    if known.labels_version > own.labels_version:
        return Verdict.BEHIND
    return Verdict.SEND
