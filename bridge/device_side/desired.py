"""What a device is told to be: its own desired state on top of those of its groups, and one version for all. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

State = dict[str, Any]


class Versioned(msgspec.Struct):
    """One half of a document's state, with the version that rises with each change."""

    version: int
    at: str
    state: State


class Origin(msgspec.Struct):
    """A group that has a part in what is desired."""

    group: str
    version: int


class Desired(Versioned):
    """What the device is told: as its own record says, unless `own` and `groups` say more."""

    own: Versioned | msgspec.UnsetType | None = msgspec.UNSET
    """What its own record says, where that is not the whole; null: it has none. Unset: the whole is its own."""
    groups: list[Origin] | msgspec.UnsetType = msgspec.UNSET
    """Lowest first; unset: none has a part."""


class Group(msgspec.Struct):
    """What is desired of a group."""

    name: str
    version: int
    state: State


def own_of(desired: Desired | None) -> Versioned | None:
    """What the device's own record says."""
    if desired is None:
        return None
    if desired.own is not msgspec.UNSET:
        return desired.own
    return Versioned(desired.version, desired.at, desired.state)


def own_version(desired: Desired | None) -> int:
    """-1: there is none."""
    own = own_of(desired)
    return own.version if own is not None else -1


def in_step(desired: Desired | None, groups: Sequence[Group]) -> bool:
    """Whether `desired` was made with these groups, in these versions."""
    made = desired.groups if desired is not None and desired.groups is not msgspec.UNSET else []
    return len(made) == len(groups) and all(
        origin.group == group.name and origin.version == group.version
        for origin, group in zip(made, groups, strict=True)
    )


def combined(before: Desired | None, own: Versioned | None, groups: Sequence[Group], at: str) -> Desired | None:
    """What the device is to be told now; `before` itself where that is what it was told already.

    Args:
        before: what it was told last.
        own: what its own record says.
        groups: those that it is in, lowest first.
        at: now.
    """
    if in_step(before, groups) and own_of(before) == own:
        return before
    if own is None and not groups:
        return None
    version = max(own.version if own is not None else 1, before.version + 1 if before is not None else 0)
    if own is not None and not groups and version == own.version:
        return Desired(own.version, own.at, own.state)
    state: State = {}
    for group in groups:
        state = compose(state, group.state)
    state = compose(state, own.state) if own is not None else state
    origins = [Origin(group.name, group.version) for group in groups]
    return Desired(version, at, state, own, origins or msgspec.UNSET)


def compose(first: State, second: State) -> State:
    """The patch that does what `first` and then `second` do. Neither is changed.

    (Where one replaced a value by an object, what the value's place held before cannot be said in a merge patch, and an
    object there would be merged.)
    """
    both = dict(first)
    for name, value in second.items():
        before = both.get(name)
        both[name] = compose(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return both
