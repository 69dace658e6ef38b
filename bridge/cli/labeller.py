"""Labels of devices, written after a look at what is there, and waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from bridge.bus_side.fleet import FleetError
from bridge.bus_side.labels_topic import Labelled, LabelsTopic
from bridge.bus_side.roster import Roster
from bridge.cli.device_view import reading
from bridge.cli.failure import FAILED, USAGE, Failure, plainly
from bridge.cli.queue_source import progress, quiet_log
from bridge.config import Config
from bridge.groups import BadLabels, check_labels
from bridge.row import row_of

_LOOK_S = 0.2
_NAMED = 5
"""Devices in a message."""
Change = Callable[[dict[str, str]], dict[str, str]]


def carry_out(
    loaded: Config, target: str, state_topic: str, devices: Sequence[str], change: Change, patience_s: float | None
) -> dict[str, dict[str, str]]:
    """The labels of each device then.

    Args:
        loaded: has a Kafka, and how many labels a device may have.
        target: the topic that gateways read.
        state_topic: that of the documents.
        devices: their ids.
        change: makes the new labels of the present ones.
        patience_s: how long is waited until gateways have taken them over; None: not at all.

    Raises:
        Failure: they were not written, or in vain; says which.
    """
    kafka = loaded.kafka
    assert kafka is not None
    noise = quiet_log("devices")
    wanted = frozenset(devices)

    async def run() -> dict[str, Labelled]:
        with reading() as advance:
            topic = LabelsTopic(kafka, target, devices, noise, advance)
            roster = Roster(kafka, state_topic, noise, wanted=wanted.__contains__, progress=advance)
        try:
            await topic.read()
            await roster.refresh()
            written = _changed(topic, roster, devices, change, loaded.downlink.labels_max)
            await topic.write(written)
            await topic.read()
            late = [device for device, each in written.items() if topic.labelled.get(device) != each]
            if late:
                raise Failure(
                    f"somebody else has labelled {_few(late)} meanwhile, and gateways refuse ours: run it again", FAILED
                )
            if patience_s is not None:
                await _waited(roster, written, patience_s)
        finally:
            await topic.close()
            await roster.close()
        return written

    with plainly(FleetError):
        return {device: each.labels for device, each in asyncio.run(run()).items()}


def _changed(
    topic: LabelsTopic, roster: Roster, devices: Sequence[str], change: Change, most: int
) -> dict[str, Labelled]:
    """By device. Raises Failure: a gateway would not take them."""
    made: dict[str, Labelled] = {}
    for device in devices:
        before = topic.labelled.get(device, Labelled({}, -1))
        labels = change(dict(before.labels))
        try:
            check_labels(labels, most)
        except BadLabels as error:
            raise Failure(f"{device}: {error}; nothing was written", USAGE) from error
        known = row_of(roster.documents.get(device, b"")).labels_version
        made[device] = Labelled(labels, max(before.version or 0, known) + 1)
    return made


async def _waited(roster: Roster, written: Mapping[str, Labelled], patience_s: float) -> None:
    """Until the documents have them. Raises Failure: it took too long."""
    deadline = time.monotonic() + patience_s
    left = dict(written)
    with progress(len(left), "waiting for gateways", at_least=2) as advance:
        while True:
            has = {device: row_of(roster.documents.get(device, b"")).labels_version for device in left}
            open_yet = {device: each for device, each in left.items() if has[device] < (each.version or 0)}
            advance(len(left) - len(open_yet))
            left = open_yet
            if not left:
                return
            if time.monotonic() >= deadline:
                raise Failure(_vain(roster, list(left)), FAILED)
            await asyncio.sleep(_LOOK_S)
            await roster.refresh()


def _vain(roster: Roster, devices: Sequence[str]) -> str:
    unknown = [device for device in devices if device not in roster.documents]
    if unknown:
        return f"the labels are in the topic; no gateway knows {_few(unknown)} yet, they are there for when they come"
    return f"the labels are in the topic; the gateways of {_few(devices)} have not taken them over yet"


def _few(devices: Sequence[str]) -> str:
    more = len(devices) - _NAMED
    return ", ".join(devices[:_NAMED]) + (f" and {more} more" if more > 0 else "")
