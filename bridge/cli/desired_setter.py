"""A desired state, written after a look at what is there, and waited for."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bridge.bus_side.desired_topic import DesiredTopic
from bridge.bus_side.fleet import FleetError
from bridge.bus_side.roster import Roster
from bridge.cli.desired_input import encoded
from bridge.cli.device_view import reading
from bridge.cli.failure import FAILED, Failure, plainly
from bridge.cli.group_wait import Outcome, wait_for_members
from bridge.cli.queue_source import quiet_log
from bridge.config import Config, State
from bridge.device_side.documents import merge_patch
from bridge.groups import GROUPS
from bridge.row import row_of

_TRIES = 5
_LOOK_S = 0.2


class Change:
    """What is to be written."""

    def __init__(
        self, device: str, wanted: dict[str, Any] | None, patch: bool, version: int | None, if_version: int | None
    ) -> None:
        """Args:
        device: its id.
        wanted: the state, or the patch; None: a removal.
        patch: which of the two.
        version: of the new state; None: whatever is the next.
        if_version: the present version, which has to be this one; None: any.
        """
        self.device = device
        self.wanted = wanted
        self.version = version
        self.if_version = if_version
        self._patch = patch

    def value(self, topic: DesiredTopic, known: int, bounds: State) -> tuple[int, bytes | None]:
        """The version and the value of the record.

        Args:
            topic: what it has of the device.
            known: the version that the device's document has; 0: none.
            bounds: what gateways take.

        Raises:
            Failure: what is there speaks against it.
        """
        standing = topic.standing
        present = standing.version if standing is not None and standing.state is not None else 0
        if self.if_version is not None and self.if_version != present:
            raise Failure(
                f"the present version is {present or 'none'}, not {self.if_version}: nothing was written", FAILED
            )
        if self.wanted is None:
            return 0, None
        highest = max(topic.highest, known)
        version = self.version if self.version is not None else highest + 1
        if version <= highest:
            raise Failure(
                f"there is version {highest}: gateways would refuse {version}, and nothing was written", FAILED
            )
        before = standing.state if standing is not None else None
        state = merge_patch(before or {}, self.wanted) if self._patch else self.wanted
        return version, encoded(state, version, bounds)


def carry_out(
    loaded: Config, target: str, bounds: State, change: Change, patience_s: float | None, *, in_step: bool
) -> dict[str, object]:
    """What came of it: `device`, `version` (None: removed), `partition` and `offset` of the record, `outcome`.

    Args:
        loaded: has a Kafka.
        target: the topic that gateways read.
        bounds: names the state topic, and what gateways take.
        change: what is to be written.
        patience_s: how long is waited until a gateway has taken it over; None: not at all.
        in_step: until the device reports it.

    Raises:
        Failure: it was not written, or in vain; says which.
    """
    kafka = loaded.kafka
    assert kafka is not None
    noise = quiet_log("devices")

    async def run() -> dict[str, object]:
        with reading() as advance:
            desired = DesiredTopic(kafka, target, change.device, noise, advance)
            group = change.device.removeprefix(GROUPS) if change.device.startswith(GROUPS) else None
            wanted = change.device.__eq__ if group is None else lambda device: True
            roster = Roster(kafka, bounds.topic, noise, wanted=wanted, progress=advance)
            try:
                await desired.read()
                await roster.refresh()
                version, place = await _written(desired, roster, change, bounds)
                outcome: Outcome = "written"
                if patience_s is not None and group is not None:
                    outcome = await wait_for_members(roster, group, version, patience_s, in_step=in_step)
                elif patience_s is not None:
                    outcome = await _waited(roster, change, version, patience_s, in_step=in_step)
            finally:
                await desired.close()
                await roster.close()
        where = {"partition": place[0], "offset": place[1]}
        return {"device": change.device, "version": version or None, **where, "outcome": outcome}

    with plainly(FleetError):
        return asyncio.run(run())


async def _written(desired: DesiredTopic, roster: Roster, change: Change, bounds: State) -> tuple[int, tuple[int, int]]:
    """The version, and where its record stands. Raises Failure, FleetError."""
    for _ in range(_TRIES):
        row = row_of(roster.documents.get(change.device, b""))
        version, value = change.value(desired, row.own_version, bounds)
        place = await desired.write(value)
        await desired.read()
        if place not in desired.refused:
            return version, place
        # Somebody else was quicker with this version or a later one.
        if change.version is not None or change.if_version is not None:
            break
    raise Failure(
        f"somebody else has written version {desired.highest} of {change.device}'s desired state meanwhile, and "
        "gateways refuse ours: look at what is desired now, and set it again",
        FAILED,
    )


async def _waited(roster: Roster, change: Change, version: int, patience_s: float, *, in_step: bool) -> Outcome:
    """Until the device's document has it. Raises Failure: it took too long, or a later version came."""
    deadline = time.monotonic() + patience_s
    row = row_of(b"")
    while time.monotonic() < deadline:
        row = row_of(roster.documents.get(change.device, b""))
        has = row.own_version
        if version and has > version:
            raise Failure(f"version {has} came after version {version}, which is desired no more", FAILED)
        if has == version:
            if row.desired is not None and not row.delta:
                return "in-step"
            if row.desired is None or not in_step:
                return "taken"
        await asyncio.sleep(_LOOK_S)
        await roster.refresh()
    raise Failure(_vain(roster, change, version, in_step=in_step), FAILED)


def _vain(roster: Roster, change: Change, version: int, *, in_step: bool) -> str:
    what = f"version {version}" if version else "the removal"
    row = row_of(roster.documents.get(change.device, b""))
    if version and row.own_version == version and in_step:
        return f"{what} was taken over by gateway {row.gateway}, and {change.device} does not report it yet"
    if change.device not in roster.documents:
        return f"{what} is in the topic; no gateway knows {change.device} yet, it is there for when it comes"
    why = f"`busbridge devices show {change.device}` says whether it is there"
    return f"{what} is in the topic; gateway {row.gateway} has not taken it over yet ({why})"
