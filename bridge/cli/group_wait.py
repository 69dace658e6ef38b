"""Waiting until every device of a group has been told what is desired of the group."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from bridge.bus_side.roster import Roster
from bridge.cli.failure import FAILED, Failure
from bridge.cli.queue_source import progress
from bridge.groups import is_member
from bridge.row import Row, row_of

Outcome = Literal["written", "taken", "in-step"]
_LOOK_S = 0.2
_NAMED = 5
"""Devices in a message."""


async def wait_for_members(
    roster: Roster, group: str, version: int, patience_s: float, *, in_step: bool
) -> Literal["taken", "in-step"]:
    """Until the documents of all its devices have this version or a later one (0: none any more).

    Args:
        roster: has the documents of all devices.
        group: its name.
        version: of the group's desired state.
        patience_s: how long.
        in_step: until they report it, too.

    Raises:
        Failure: it took too long; says for how many.
        FleetError: the topic cannot be read.
    """
    deadline = time.monotonic() + patience_s
    done = 0
    with progress(len(_members(roster, group)), f"devices of {group}", at_least=2) as advance:
        while True:
            members = _members(roster, group)
            behind = [device for device, row in members.items() if not _told(row, group, version)]
            out_of_step = [device for device, row in members.items() if row.delta]
            open_yet = sorted({*behind, *out_of_step} if in_step else behind)
            advance(len(members) - len(open_yet) - done)
            done = len(members) - len(open_yet)
            if not open_yet:
                return "taken" if out_of_step else "in-step"
            if time.monotonic() >= deadline:
                raise Failure(_vain(open_yet, len(members)), FAILED)
            await asyncio.sleep(_LOOK_S)
            await roster.refresh()


def _members(roster: Roster, group: str) -> dict[str, Row]:
    rows = ((device, row_of(value)) for device, value in roster.documents.items())
    return {device: row for device, row in rows if is_member(row.labels, group)}


def _told(row: Row, group: str, version: int) -> bool:
    has = row.version_of(group)
    return has >= version if version else not has


def _vain(devices: list[str], members: int) -> str:
    named = ", ".join(devices[:_NAMED]) + (" …" if len(devices) > _NAMED else "")
    return f"it is in the topic; {len(devices)} of the group's {members} devices have not followed yet: {named}"
