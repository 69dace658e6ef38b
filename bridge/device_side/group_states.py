"""What is desired of groups. Every gateway keeps it of every group: a device with the label may come any time."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from bridge import groups
from bridge.device_side.cold import ColdStore
from bridge.device_side.desired import Group
from bridge.device_side.documents import DesiredState

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Group).decode


class GroupStates:
    """Group → what is desired of it."""

    def __init__(self, cold: ColdStore, most: int) -> None:
        """Args:
        cold: where they are kept.
        most: groups; of one more nothing is taken.
        """
        self._cold = cold
        self._most = most
        self._groups = {name: _decode(body) for name, body in cold.load("groups")}

    def __len__(self) -> int:
        return len(self._groups)

    def take(self, name: str, desired: DesiredState | None) -> bool:
        """Takes over what is desired of a group now (None: nothing). False: that changes nothing."""
        known = self._groups.get(name)
        if desired is None:
            if known is not None:
                del self._groups[name]
                self._cold.put("groups", name, None)
            return known is not None
        if known is not None and known.version >= desired.version:
            if known.version > desired.version:
                _log.warning("group=%s: version %d is passed over, there is %d", name, desired.version, known.version)
            return False
        if known is None and len(self._groups) >= self._most:
            _log.warning("group=%s: its desired state is passed over, %d groups have one already", name, self._most)
            return False
        group = self._groups[name] = Group(name, desired.version, desired.state)
        self._cold.put("groups", name, _encode(group))
        return True

    def of(self, labels: Mapping[str, str]) -> list[Group]:
        """Those that a device with these labels is in, lowest first."""
        if not self._groups:
            return []
        names = (groups.ALL, *(f"{key}={value}" for key, value in labels.items()))
        found = [group for name in names if (group := self._groups.get(name)) is not None]
        return sorted(found, key=lambda group: groups.by_rank(group.name))
