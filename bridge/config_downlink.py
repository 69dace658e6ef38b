"""Settings of what comes from Kafka to devices: the shapes of `[downlink]`, a part of `bridge.config`."""

from __future__ import annotations

from typing import Literal

import msgspec

from bridge.quantities import KIB, MIB, Count, Size, Timeout


class Downlink(msgspec.Struct, frozen=True):
    """What comes from Kafka to devices; None: not consumed."""

    desired_topic: str | None = None
    command_topic: str | None = None
    outcome_topic: str = "device-command-outcomes"
    """Of commands: what became of each."""
    labels_max: Count = 32
    """Of one device; a record with more is passed over."""
    groups_max: Count = 200
    """Groups with a desired state; that of one more is passed over."""
    group_commands_open: Count = 100
    """Commands to groups that are not over yet; one more is refused."""
    group_command_max_bytes: Size = 4 * KIB
    """Of a command to a group, which is stored for each of its devices; a larger one is refused."""
    group_slice: Count = 100
    """Devices of a group that are served in one turn of the loop; the others wait while it does what else there is."""
    command_max_bytes: Size = 64 * KIB
    """Of a command's value in Kafka; a larger one is refused."""
    answer_max_bytes: Size = 256 * KIB
    """Of a device's answer to a command; with a larger one the command has failed. Kafka has to take it."""
    command_deadline: Timeout = 7 * 24 * 3600.0
    """Of a command that names none, from its arrival here."""
    commands_waiting: Count = 1000
    """Of one device, not yet over; one more is refused."""
    commands_under_way: Count = 16
    """Of one device, sent and not yet acknowledged; the others wait for them."""
    commands_remembered: Count = 50_000
    """Commands that are over, by which one that comes again is known; the oldest are forgotten first."""
    unsynchronised_clock: Literal["wait", "trust"] = "wait"
    """Commands while the kernel does not call the clock synchronised: `wait` (those with a deadline are neither
    delivered nor expired until it does), or `trust` the clock as it is."""
    unknown_devices: Literal["ignore", "refuse", "keep"] = "ignore"
    """A command for a device that was never here is another gateway's (`ignore`); where there is only one gateway, it
    can be refused (`refuse`), or kept until the device comes (`keep`)."""
    max_bytes: Size = 256 * MIB
    segment_bytes: Size = 4 * MIB
