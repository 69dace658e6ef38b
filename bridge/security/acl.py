"""Acl: what a device may publish and subscribe to, by MQTT topic filters with `{device}` in them.

Pure. What a denial names is refused, what no filter allows is refused as well. The callers remember the answers per
(device, topic); which roles a device has is asked each time, so that those may change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from bridge import config
from bridge.config_access import Role
from bridge.device_filter import DeviceFilter

_SHARED = "$share/"
_OURS = "$SYS"
Members = Mapping[str, frozenset[str]]
"""By the name of a role: the devices that have it by the members file."""
NO_MEMBERS: Final[Members] = MappingProxyType({})


class Decision(msgspec.Struct, frozen=True):
    """Whether something is allowed, and what says so."""

    allowed: bool
    rule: str
    """The setting that decided, as `acl.publish[0] "devices/{device}/#"`, or in words why none did."""


class _Rules:
    """The filters of `[acl]` itself or of one role, compiled."""

    def __init__(self, name: str, rules: config.Acl | Role) -> None:
        self.publish = _Side(f"{name}.publish", rules.publish, f"{name}.deny_publish", rules.deny_publish)
        self.subscribe = _Side(f"{name}.subscribe", rules.subscribe, f"{name}.deny_subscribe", rules.deny_subscribe)


class _Side:
    """One direction of them: each filter with its name."""

    def __init__(self, allow_name: str, allow: Iterable[str], deny_name: str, deny: Iterable[str]) -> None:
        self.permissions = _named(allow_name, allow)
        self.denials = _named(deny_name, deny)


class Acl:
    """Answers for one `[acl]` section, or for its absence where everything is allowed."""

    def __init__(self, rules: config.Acl | None, members: Members = NO_MEMBERS) -> None:
        """Compile the filters. None: everything is allowed but publishing the broker's own figures.

        Raises:
            ValueError: one of them is not a topic filter; says which and why.
        """
        self._units: dict[str, frozenset[str]] = {}
        self.replace(rules, members)

    def replace(self, rules: config.Acl | None, members: Members = NO_MEMBERS) -> None:
        """Judge by other rules from now on. Raises ValueError as the constructor does; then the old ones stay."""
        everybody = None if rules is None else _Rules("acl", rules)
        roles = rules.roles if rules is not None else {}
        compiled = {name: _Rules(f"acl.roles.{name}", role) for name, role in roles.items()}
        self._everybody, self._roles = everybody, compiled
        self._role_units = {name: frozenset(role.ou) for name, role in roles.items() if role.ou}
        self._members = members

    def enrol(self, device: str, units: Iterable[str]) -> None:
        """Remember which organizational units the certificate of `device` names; none: forget it."""
        if units := frozenset(units):
            self._units[device] = units
        else:
            self._units.pop(device, None)

    def units(self, device: str) -> frozenset[str]:
        """What was last said to `enrol`."""
        return self._units.get(device, frozenset())

    def roles(self, device: str, units: Iterable[str] | None = None) -> tuple[str, ...]:
        """The names of the roles that `device` has, in the configuration's order.

        `units`: with a certificate that names these, not those remembered.
        """
        if not self._roles:
            return ()
        units = self.units(device) if units is None else frozenset(units)
        return tuple(
            name
            for name in self._roles
            if device in self._members.get(name, ()) or not units.isdisjoint(self._role_units.get(name, ()))
        )

    def may_publish(self, device: str, topic: str) -> bool:
        """Whether `device` may publish to `topic`."""
        return self.publishing(device, topic).allowed

    def may_subscribe(self, device: str, topic_filter: str) -> bool:
        """Whether `device` may be sent all that `topic_filter` can match."""
        return self.subscribing(device, topic_filter).allowed

    def publishing(self, device: str, topic: str, roles: Iterable[str] | None = None) -> Decision:
        """Whether `device` may publish to `topic`, and why; with other `roles` than it has where they are given.

        Raises:
            KeyError: there is no such role.
        """
        levels = topic.split("/")
        if levels[0] == _OURS:
            return Decision(False, f"topics below {_OURS} are the broker's own")
        sides = [rules.publish for rules in self._rules(device, roles)]
        return _decided(
            ((name, each.matches(device, levels)) for side in sides for name, each in side.denials),
            ((name, each.matches(device, levels)) for side in sides for name, each in side.permissions),
            open_to_all=self._everybody is None,
        )

    def subscribing(self, device: str, topic_filter: str, roles: Iterable[str] | None = None) -> Decision:
        """Whether everything that `topic_filter` can match is within one allowed filter, and nothing of it denied.

        A shared subscription `$share/GROUP/FILTER` (MQTT5 §4.8.2) is judged by its FILTER. Raises KeyError as
        `publishing` does.
        """
        levels = topic_filter.split("/")
        if topic_filter.startswith(_SHARED):
            levels = levels[2:]
        if not levels:
            return Decision(False, "a shared subscription without a filter")
        sides = [rules.subscribe for rules in self._rules(device, roles)]
        return _decided(
            ((name, each.overlaps(device, levels)) for side in sides for name, each in side.denials),
            ((name, each.covers(device, levels)) for side in sides for name, each in side.permissions),
            open_to_all=self._everybody is None,
        )

    def _rules(self, device: str, roles: Iterable[str] | None) -> list[_Rules]:
        everybody = [] if self._everybody is None else [self._everybody]
        return everybody + [self._roles[name] for name in (self.roles(device) if roles is None else roles)]


def _decided(
    denials: Iterable[tuple[str, bool]], permissions: Iterable[tuple[str, bool]], *, open_to_all: bool
) -> Decision:
    for name, applies in denials:
        if applies:
            return Decision(False, name)
    if open_to_all:
        return Decision(True, "a plain local broker without [acl]")
    return next((Decision(True, name) for name, applies in permissions if applies), _NOTHING_ALLOWS)


_NOTHING_ALLOWS: Final = Decision(False, "no rule allows it")


def _named(name: str, filters: Iterable[str]) -> tuple[tuple[str, DeviceFilter], ...]:
    return tuple((f'{name}[{index}] "{text}"', DeviceFilter(text)) for index, text in enumerate(filters))
