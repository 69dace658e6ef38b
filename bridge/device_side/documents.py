"""A device's document: presence, reported and desired state, and what differs. Pure: clock readings are arguments.

It holds the rules of merging and of versions; it does not know where documents are kept or how they travel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from bridge.device_side.desired import Desired, Group, State, Versioned, combined, compose, own_of, own_version

GroupsOf = Callable[[Mapping[str, str]], Sequence[Group]]
"""What is desired of the groups that a device with these labels is in, lowest first."""


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


class Ground(msgspec.Struct):
    """What a device's reports of its last connection stand on: another gateway may have known it better before."""

    base: int = 0
    """Version of the reported state when the device connected; 0: none was known here."""
    count: int = 0
    """Reports since."""
    patch: State = {}
    """All of them as one merge patch."""
    whole: bool | msgspec.UnsetType = msgspec.UNSET
    """Set: one of them was all that is reported of the device, so nothing of what others know is below it."""


class Document(msgspec.Struct):
    """What the compacted topic holds for one device."""

    device: str
    presence: Presence | None = None
    reported: Versioned | None = None
    desired: Desired | None = None
    delta: State = {}
    """The desired values that the reported state does not have yet."""
    ground: Ground | msgspec.UnsetType = msgspec.UNSET
    """On the gateway only: the bus side takes it out."""
    labels: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """What it is called, by `labels/DEVICE` in the desired topic; unset: it never had any."""
    labels_version: int | msgspec.UnsetType = msgspec.UNSET


class Labels(msgspec.Struct):
    """What arrives from Kafka as the labels of a device; the bus side has filled in the version."""

    version: int
    labels: dict[str, str]


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


def replacing(before: State, after: State) -> State:
    """The merge patch that makes `after` of `before`; nulls within objects of `after` get lost. Neither is changed."""
    patch: State = {name: None for name in before if name not in after}
    for name, value in after.items():
        known = before.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            inner = replacing(known, value)
            if inner:
                patch[name] = inner
        elif name not in before or not _same(known, value):
            patch[name] = value
    return patch


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
    before, ground = document.reported, document.ground
    state = merge_patch(before.state if before else {}, patch)
    reported = Versioned(version=version_of(before) + 1, at=at, state=state)
    if ground is not msgspec.UNSET:
        ground = Ground(ground.base, ground.count + 1, compose(ground.patch, patch), ground.whole)
    return _with_delta(document, reported=reported, desired=document.desired, ground=ground)


def apply_whole(document: Document, state: State, at: str) -> Document:
    """The document after `state` became all that is reported of the device; itself where everybody knows that."""
    patch, ground = replacing(document.reported.state if document.reported else {}, state), document.ground
    if ground is not msgspec.UNSET and ground.whole is not True:
        ground = msgspec.structs.replace(ground, whole=True)
    elif not patch:
        return document
    return apply_reported(msgspec.structs.replace(document, ground=ground), patch, at)


def version_of(half: Versioned | None) -> int:
    """0: there is none."""
    return half.version if half is not None else 0


def apply_desired(document: Document, desired: DesiredState, at: str, groups: Sequence[Group] = ()) -> Document | None:
    """The document after `desired`, its own, arrived; None where it has this version or a later one already."""
    if own_version(document.desired) >= desired.version:
        return None
    own = Versioned(version=desired.version, at=at, state=desired.state)
    return _told(document, combined(document.desired, own, groups, at))


def without_desired(document: Document, at: str, groups: Sequence[Group] = ()) -> Document:
    """The document after its own desired state was removed (a tombstone arrived)."""
    return _told(document, combined(document.desired, None, groups, at))


def regrouped(document: Document, groups: Sequence[Group], at: str) -> Document:
    """The document with what is desired of its groups now; itself where that is nothing new."""
    return _told(document, combined(document.desired, own_of(document.desired), groups, at))


def _told(document: Document, desired: Desired | None) -> Document:
    if desired is document.desired:
        return document
    return _with_delta(document, reported=document.reported, desired=desired)


def apply_labels(document: Document, labels: Labels) -> Document | None:
    """The document after `labels` arrived; None where the document has this version or a later one already."""
    if labels_version_of(document) >= labels.version:
        return None
    return msgspec.structs.replace(document, labels=labels.labels, labels_version=labels.version)


def without_labels(document: Document) -> Document:
    """The document after its labels were removed (a tombstone arrived)."""
    return msgspec.structs.replace(document, labels=msgspec.UNSET, labels_version=msgspec.UNSET)


def labels_of(document: Document) -> dict[str, str]:
    """Empty: it has none."""
    return document.labels if document.labels is not msgspec.UNSET else {}


def labels_version_of(document: Document) -> int:
    """-1: it has none."""
    return document.labels_version if document.labels_version is not msgspec.UNSET else -1


def with_presence(document: Document, presence: Presence) -> Document:
    """The document with another presence."""
    return msgspec.structs.replace(document, presence=presence)


def reconciled(
    own: Document, known: Document, gateway: str, groups_of: GroupsOf = lambda labels: (), at: str = ""
) -> Document:
    """What this gateway knows of a device and what the topic has of it, as one document of `gateway`, which is ours.

    The newer connection counts. Where that is ours, what the device reported since is put on top of what is known. Of
    what is desired the later counts; `groups_of` and `at` (now) are for what follows from that.
    """
    presence = known.presence
    if presence is not None and is_newer(presence, own.presence, gateway):
        reported, ground = known.reported, own.ground
    else:
        reported, ground = _on_top(own, known, gateway)
        presence = own.presence
    last_told = max(own.desired, known.desired, key=version_of)
    own_state = own_of(max(own.desired, known.desired, key=own_version))
    labelled = max(own, known, key=labels_version_of)
    merged = Document(
        own.device, presence, ground=ground, labels=labelled.labels, labels_version=labelled.labels_version
    )
    desired = combined(last_told, own_state, groups_of(labels_of(merged)), at)
    return _with_delta(merged, reported=reported, desired=desired, ground=ground)


def is_newer(known: Presence, own: Presence | None, gateway: str) -> bool:
    """Whether what the topic says of a connection is newer than what `gateway`, which is ours, says itself."""
    if own is None:
        return True
    if known.gateway == own.gateway == gateway:
        return (known.connected or "") > (own.connected or "")
    return (known.connected or "", known.gateway) > (own.connected or "", own.gateway)


def _on_top(own: Document, known: Document, gateway: str) -> tuple[Versioned | None, Ground]:
    """The reported state of a device that is, or was last, connected here; and what it stands on now."""
    theirs, version = known.reported, version_of(known.reported)
    ground = own.ground if own.ground is not msgspec.UNSET else Ground(version_of(own.reported))
    before, now = known.presence, own.presence
    ours = before is not None and before.gateway == gateway
    if ground.base == version or (ours and version_of(own.reported) >= version):
        return own.reported, ground
    if ours and before is not None and now is not None and before.connected == now.connected:
        return theirs, Ground(version)  # said later on the same connection
    fresh = Ground(version, ground.count, ground.patch, ground.whole)
    if not ground.count or own.reported is None or theirs is None:
        return max(own.reported, theirs, key=version_of), fresh
    merged = own.reported.state if ground.whole is True else merge_patch(theirs.state, ground.patch)
    return Versioned(max(version + ground.count, own.reported.version), own.reported.at, merged), fresh


def as_sent(document: Document) -> Document:
    """As the topic has it."""
    return msgspec.structs.replace(document, ground=msgspec.UNSET)


def _with_delta(
    document: Document,
    *,
    reported: Versioned | None,
    desired: Desired | None,
    ground: Ground | msgspec.UnsetType | None = None,
) -> Document:
    """`ground` None: as it was."""
    delta = difference(desired.state, reported.state if reported else {}) if desired else {}
    kept = document.ground if ground is None else ground
    return msgspec.structs.replace(document, reported=reported, desired=desired, delta=delta, ground=kept)
