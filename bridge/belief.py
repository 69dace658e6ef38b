"""Belief: what a reader of device documents may take for true now, by the rule of docs/device-state.md. Pure.

Instants are RFC 3339 in UTC with milliseconds, so as text they sort as in time.
"""

from __future__ import annotations

import msgspec


class Presence(msgspec.Struct, gc=False):
    """Of a document, what is read of it; what somebody else wrote may lack any of it."""

    state: str = "unknown"
    since: str = ""
    last_seen: str = ""
    reason: str | None = None
    gateway: str = ""
    gateway_epoch: int = 0
    lease_until: str | None = None
    connected: str | None = None
    address: str | None = None
    protocol: str | None = None
    session: str | None = None


class Life(msgspec.Struct, gc=False):
    """Of a gateway's own record, what its word on devices hangs on."""

    epoch: int = 0
    lease_until: str = ""
    started: str = ""
    version: str = ""


class Belief(msgspec.Struct, frozen=True):
    """Whether a device is there."""

    state: str
    """`online`, `offline` or `unknown`."""
    since: str
    """When it entered that state, as far as anybody knows; empty: nobody does."""
    why: str
    """In plain words."""


def believed(presence: Presence | None, life: Life | None, before: str) -> Belief:
    """What may be believed of a device.

    Args:
        presence: as its document has it; None: the document says nothing of it.
        life: of the gateway that `presence` names; None: it has no record.
        before: leases that ended before this instant are over: now, less what clocks may differ.
    """
    if presence is None:
        return Belief("unknown", "", "no gateway has said whether it is there")
    if presence.state != "online":
        return Belief(presence.state, presence.since, _reason(presence))
    if life is None:
        return _unknown(presence, f"gateway {presence.gateway} has no record in the topic")
    if life.epoch != presence.gateway_epoch:
        started = f"gateway {presence.gateway} has been started again (epoch {life.epoch}, the document's is "
        return _unknown(presence, f"{started}{presence.gateway_epoch}) and has not spoken of it yet")
    until = max(life.lease_until, presence.lease_until or "")
    if until < before:
        return Belief("unknown", until, f"the lease of gateway {presence.gateway} is over, it has not been heard of")
    return Belief("online", presence.since, f"gateway {presence.gateway} says so, and its lease holds until {until}")


def _unknown(presence: Presence, why: str) -> Belief:
    return Belief("unknown", presence.lease_until or presence.since, why)


def _reason(presence: Presence) -> str:
    said = f"gateway {presence.gateway} says so" if presence.gateway else "the document says so"
    return f"{said}: {presence.reason}" if presence.reason else said
