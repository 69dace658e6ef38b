"""Settings of who may do what: the shapes of `[acl]`, a part of `bridge.config`."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Role(msgspec.Struct, frozen=True):
    """What devices with this role may do beside what `[acl]` lets all of them do, and what they may not."""

    ou: tuple[str, ...] = ()
    """Organizational units: a device whose certificate names one of them has this role. Name none where whoever asks
    for a certificate can choose what stands in it."""
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    deny_publish: tuple[str, ...] = ()
    deny_subscribe: tuple[str, ...] = ()


class Acl(msgspec.Struct, frozen=True):
    """MQTT topic filters; `{device}` stands for the device id.

    What a `deny_` filter refuses is refused whatever else allows it, what no filter allows is refused, too. A
    subscription is allowed if one filter allows all that it can match, and refused if a denied filter shares any topic
    with it. A plain local broker (no routes, no `[state]`, only anonymous listeners) without this table allows
    everything but publishing below `$SYS`, which nobody may.
    """

    publish: tuple[str, ...] = ("devices/{device}/#",)
    subscribe: tuple[str, ...] = ("devices/{device}/#", "broadcast/#")
    deny_publish: tuple[str, ...] = ()
    deny_subscribe: tuple[str, ...] = ()
    roles: dict[str, Role] = msgspec.field(default_factory=dict)
    members_file: Path | None = None
    """TOML: by the name of a role, the ids of the devices that have it, `operator = ["dev-1", "dev-2"]`. Read again
    when it changes."""
