"""A device's document: presence, reported and desired state, and what differs. Pure: clock readings are arguments.

It holds the rules of merging and of versions; it does not know where documents are kept or how they travel.
"""

from __future__ import annotations

from typing import Any

import msgspec

State = dict[str, Any]


class Presence(msgspec.Struct):
    """Whether the device is connected; times are RFC 3339 in UTC with milliseconds.

    docs/device-document.schema.json says what each field may hold, docs/device-state.md how to read them.
    """

    state: str
    """`online`, `offline` or `unknown`."""
    since: str
    last_seen: str
    reason: str | None
    """Why it is not online."""
    gateway: str
    gateway_epoch: int
    """Rises with each start of the gateway's daemon."""
    lease_until: str | None = None
    """`online` may be believed until then, or for as long as the gateway's own record says; None: is not online."""
    connected: str | None = None
    """When the connection began that this is about: of two documents the one with the later connection is newer."""
    address: str | None = None
    """What kind of address it came from: `loopback`, `link-local`, `private`, `public`, `other`."""
    protocol: str | None = None
    """`mqtt-3.1`, `mqtt-3.1.1` or `mqtt-5`."""
    session: str | None = None
    """`new` or `resumed`."""


class Versioned(msgspec.Struct):
    """One half of the state, with the version that rises with each change."""

    version: int
    at: str
    state: State


class Document(msgspec.Struct):
    """What the compacted topic holds for one device."""

    device: str
    presence: Presence | None = None
    reported: Versioned | None = None
    desired: Versioned | None = None
    delta: State = {}
    """The desired values that the reported state does not have yet."""


class DesiredState(msgspec.Struct):
    """What arrives from Kafka for a device; the bus side has filled in the version where it was left out."""

    version: int
    state: State


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386 §2: a null removes, an object merges, all else replaces. Neither argument is changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def depth(value: Any) -> int:
    """How many objects and arrays are nested in each other; 0 for a scalar. Costs no recursion, however deep it is."""
    deepest, waiting = 0, [(value, 0)]
    while waiting:
        current, level = waiting.pop()
        deepest = max(deepest, level)
        if isinstance(current, dict):
            current = list(current.values())
        elif not isinstance(current, list):
            continue
        deepest = max(deepest, level + 1)
        waiting += [(inner, level + 1) for inner in current]
    return deepest


def difference(desired: State, reported: State) -> State:
    """The part of `desired` that `reported` does not agree with: the patch with which a device would agree.

    A null that is desired means, as in a patch, that the value is to go.
    """
    delta: State = {}
    for name, wanted in desired.items():
        has = reported.get(name)
        if isinstance(wanted, dict) and isinstance(has, dict):
            inner = difference(wanted, has)
            if inner:
                delta[name] = inner
        elif name in reported:
            if not _same(wanted, has):
                delta[name] = wanted
        elif wanted is not None:
            delta[name] = wanted
    return delta


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: Python takes true for 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def apply_reported(document: Document, patch: State, at: str) -> Document:
    """The document after the device reported `patch`."""
    before = document.reported
    state = merge_patch(before.state if before else {}, patch)
    reported = Versioned(version=(before.version if before else 0) + 1, at=at, state=state)
    return _with_delta(document, reported=reported, desired=document.desired)


def apply_desired(document: Document, desired: DesiredState, at: str) -> Document | None:
    """The document after `desired` arrived; None where the document has this version or a later one already."""
    if document.desired is not None and document.desired.version >= desired.version:
        return None
    half = Versioned(version=desired.version, at=at, state=desired.state)
    return _with_delta(document, reported=document.reported, desired=half)


def without_desired(document: Document) -> Document:
    """The document after its desired state was removed (a tombstone arrived)."""
    return _with_delta(document, reported=document.reported, desired=None)


def with_presence(document: Document, presence: Presence) -> Document:
    """The document with another presence."""
    return Document(document.device, presence, document.reported, document.desired, document.delta)


def _with_delta(document: Document, *, reported: Versioned | None, desired: Versioned | None) -> Document:
    delta = difference(desired.state, reported.state if reported else {}) if desired else {}
    return Document(document.device, document.presence, reported, desired, delta)
