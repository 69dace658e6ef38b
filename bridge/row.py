"""Row: what of a device's document lists go by, and which devices a list is asked for. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

import msgspec

from bridge.belief import Belief, Presence
from bridge.groups import is_member


class Origin(msgspec.Struct, gc=False):
    """A group that has a part in what is desired."""

    group: str = ""
    version: int = 0


class Half(msgspec.Struct, gc=False):
    """Reported or desired state, so far as a row has it."""

    version: int = 0
    groups: tuple[Origin, ...] = ()
    own: Half | msgspec.UnsetType | None = msgspec.UNSET
    """Of a desired state that groups have a part in: the device's own record; null: it has none."""


class Row(msgspec.Struct, gc=False):
    """What of a document is listed; what is no document is an empty one."""

    presence: Presence | None = None
    reported: Half | None = None
    desired: Half | None = None
    delta: dict[str, msgspec.Raw] = {}
    labels: dict[str, str] = {}
    labels_version: int = -1
    """-1: it never had any."""

    @property
    def gateway(self) -> str:
        """Whose word the presence is; empty: nobody's."""
        return self.presence.gateway if self.presence is not None else ""

    @property
    def own_version(self) -> int:
        """Of the device's own desired state, without what its groups add; 0: it has none."""
        half = self.desired
        if half is not None and half.own is not msgspec.UNSET:
            half = half.own
        return half.version if half is not None else 0

    def version_of(self, group: str) -> int:
        """Of what is desired of a group, as far as the device has been told; 0: nothing."""
        groups = self.desired.groups if self.desired is not None else ()
        return max((each.version for each in groups if each.group == group), default=0)


_decode = msgspec.json.Decoder(Row).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NONSENSE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def row_of(value: bytes) -> Row:
    """Of a document as the topic has it."""
    try:
        return _decode(value)
    except _NONSENSE:
        return Row()


def with_belief(value: bytes, belief: Belief) -> bytes:
    """A document with what may be believed of its presence now, as one line of JSON; without its ground, which only
    its gateway keeps."""
    try:
        fields = _decode_fields(value)
    except _NONSENSE:
        fields = {}
    fields.pop("ground", None)
    return msgspec.json.encode(fields | {"believed": msgspec.Raw(msgspec.json.encode(belief))})


class Asked(msgspec.Struct, frozen=True):
    """Which devices a list is about; what is empty asks for all."""

    patterns: tuple[str, ...] = ()
    """Of ids, with `*`, `?` and `[…]` as in a shell; one of them has to fit."""
    states: frozenset[str] = frozenset()
    """As they may be believed."""
    gateways: frozenset[str] = frozenset()
    labels: tuple[str, ...] = ()
    """KEY=VALUE, all of them."""
    pending: bool = False
    """Only those that do not report yet what is desired of them."""

    def of_name(self) -> Callable[[str], bool]:
        """Whether a device's id is asked for."""
        if not self.patterns:
            return lambda device: True
        either = re.compile("|".join(map(fnmatch.translate, self.patterns)))
        return lambda device: either.match(device) is not None

    def takes(self, row: Row, belief: Belief) -> bool:
        """Whether a device with such an id is asked for."""
        return (
            (not self.states or belief.state in self.states)
            and (not self.gateways or row.gateway in self.gateways)
            and all(is_member(row.labels, label) for label in self.labels)
            and (not self.pending or bool(row.delta))
        )
