"""Standpoint: what this gateway may say of whether a device is there, and in which words."""

from __future__ import annotations

import contextlib

import msgspec

from bridge.device_side.arrival import Arrival
from bridge.device_side.clock import Clock, rfc3339, wall_ns_of
from bridge.device_side.documents import Document, Ground, Presence, version_of, with_presence

_MS = 1_000_000


class Standpoint:
    """Of one gateway in one epoch."""

    def __init__(
        self, clock: Clock, *, gateway: str, epoch: int, lease_s: float, roaming: bool, former: str | None
    ) -> None:
        """Args:
        clock: for `since`, `last_seen` and the lease.
        gateway: this gateway's id.
        epoch: of this start of the daemon; may be set anew.
        lease_s: how long its word that a device is online may be believed.
        roaming: devices may come from other gateways.
        former: this gateway's id before it was renamed.
        """
        self.epoch = epoch
        self._clock = clock
        self._gateway = gateway
        self._names = {gateway, former}
        self._lease_ns = int(lease_s * 1e9)
        self._roaming = roaming

    def is_ours(self, document: Document) -> bool:
        """Nobody but this gateway has said whether the device is there."""
        return document.presence is None or document.presence.gateway in self._names

    def is_online_here(self, document: Document) -> bool:
        """It is connected to this gateway."""
        presence = document.presence
        return presence is not None and presence.state == "online" and self.is_ours(document)

    def connected(self, document: Document, arrival: Arrival, *, already: bool = False) -> Document:
        """The device is here; `already`: it was, and is now by one more connection."""
        before, now_ns = document.presence, self._clock.wall_ns()
        now = _after(before, now_ns)
        already = already and self.is_online_here(document)
        presence = Presence(
            "online", before.since if already and before is not None else now, now, None, self._gateway, self.epoch,
            lease_until=rfc3339(now_ns + self._lease_ns), connected=now,
            address=arrival.address, protocol=arrival.protocol, session=arrival.session,
        )  # fmt: skip
        document = with_presence(document, presence)
        if self._roaming and not already:
            document.ground = Ground(version_of(document.reported))
        return document

    def offline(self, document: Document, reason: str, last_seen_ns: int | None) -> Document:
        """The device went; `last_seen_ns` is wall clock, None: as the document says."""
        before, now = document.presence, self._clock.instant()
        if before is None:
            before = Presence("offline", now, now, reason, self._gateway, self.epoch, connected=now)
        seen = rfc3339(last_seen_ns) if last_seen_ns is not None else before.last_seen
        return with_presence(document, self.gone(before, reason, seen))

    def gone(self, before: Presence, reason: str, seen: str) -> Presence:
        """What follows on `before`."""
        return msgspec.structs.replace(
            before, state="offline", since=self._clock.instant(), last_seen=seen, reason=reason, lease_until=None,
            gateway=self._gateway, gateway_epoch=self.epoch,
        )  # fmt: skip

    def renewed(self, document: Document) -> Document | None:
        """What holds, said again in another epoch; None: it is another's word, or that of a former name."""
        presence = document.presence
        if presence is None or presence.gateway != self._gateway:
            return None
        return with_presence(document, msgspec.structs.replace(presence, gateway_epoch=self.epoch))


def _after(known: Presence | None, now_ns: int) -> str:
    """Now; but later than the connection known so far, which a clock that was set back would make the newer one."""
    with contextlib.suppress(ValueError):
        if known is not None and known.connected is not None:
            now_ns = max(now_ns, wall_ns_of(known.connected) + _MS)
    return rfc3339(now_ns)
