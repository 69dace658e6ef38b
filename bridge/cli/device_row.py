"""A device's document as one row: what of it is listed, and whether it is asked for. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from bridge.belief import Belief, Presence

COLUMNS = ("device", "state", "since", "gateway", "protocol", "reported", "desired", "delta")


class Half(msgspec.Struct, gc=False):
    """Reported or desired state, so far as a row has it."""

    version: int = 0


class Row(msgspec.Struct, gc=False):
    """What of a document is listed; what is no document is an empty one."""

    presence: Presence | None = None
    reported: Half | None = None
    desired: Half | None = None
    delta: dict[str, msgspec.Raw] = {}

    @property
    def gateway(self) -> str:
        """Whose word the presence is; empty: nobody's."""
        return self.presence.gateway if self.presence is not None else ""

    def cells(self, device: str, belief: Belief) -> tuple[str, ...]:
        """In the order of COLUMNS."""
        presence = self.presence or Presence()
        return (
            device,
            belief.state,
            belief.since,
            presence.gateway,
            presence.protocol or "",
            _version(self.reported),
            _version(self.desired),
            "pending" if self.delta else "",
        )


_decode = msgspec.json.Decoder(Row).decode


def row_of(value: bytes) -> Row:
    """Of a document as the topic has it."""
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Row()


class Asked(msgspec.Struct, frozen=True):
    """Which devices a list is about; what is empty asks for all."""

    patterns: tuple[str, ...] = ()
    """Of ids, with `*`, `?` and `[…]` as in a shell."""
    states: frozenset[str] = frozenset()
    gateways: frozenset[str] = frozenset()
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
            and (not self.pending or bool(row.delta))
        )


def with_belief(value: bytes, belief: Belief) -> bytes:
    """A document with what may be believed of its presence now, as one line of JSON."""
    try:
        fields = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = {}
    return msgspec.json.encode({**fields, "believed": belief})


def summary(states: Mapping[str, int], gateways: Sequence[str]) -> str:
    """Of a whole list, in one line."""
    words = ", ".join(f"{states[state]} {state}" for state in ("online", "offline", "unknown") if states.get(state))
    total = sum(states.values())
    return f"{total} devices: {words}; {len(set(gateways))} gateways" if total else "no devices"


def _version(half: Half | None) -> str:
    return str(half.version) if half is not None else ""
