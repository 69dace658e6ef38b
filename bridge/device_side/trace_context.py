"""W3C Trace Context on its way through the gateway: carried on, dropped where it is invalid, or begun here. Pure.

The gateway has no span of its own: a valid context goes on as it came, so a reader's span is the child of the device's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

Pairs = list[tuple[str, bytes]]

PARENT: Final = "traceparent"
STATE: Final = "tracestate"
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", re.ASCII)
"""Trace Context §3.2.2; what may follow is for versions to come (§4.3)."""
_MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MEMBERS_MAX: Final = 32
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_RANDOM_BYTES: Final = 24
_REFILL: Final = 4096 // _RANDOM_BYTES * _RANDOM_BYTES


def carried(parents: Sequence[str], states: Sequence[str]) -> Pairs:
    """The headers for what a message brought; [] for what has to be ignored.

    Without one valid traceparent tracestate is not even looked at (§4.3); an invalid tracestate goes alone (§3.3.1.4).
    """
    if len(parents) != 1 or not _valid(parents[0]):
        return []
    pairs = [(PARENT, parents[0].encode())]
    state = _combined(states)
    return [*pairs, (STATE, state.encode())] if state else pairs


def _valid(parent: str) -> bool:
    found = _PARENT.fullmatch(parent)
    return found is not None and (found[1] != "00" or found[2] is None)


def _combined(states: Sequence[str]) -> str:
    """Several are one list (RFC 9110 §5.3); "" if it is none."""
    members = [member.strip(" \t") for state in states for member in state.split(",")]
    members = [member for member in members if member]
    keys = {member.partition("=")[0] for member in members}
    valid = len(members) <= _MEMBERS_MAX and len(keys) == len(members) and all(map(_MEMBER.fullmatch, members))
    return ",".join(members) if valid else ""


class Beginnings:
    """New traces, for messages that bring none.

    Randomness is taken from the kernel for many at once: a call for each would cost more than everything else here.
    """

    def __init__(self, random: Callable[[int], bytes]) -> None:
        """`random`: that many random bytes, as `os.urandom` gives them."""
        self._random = random
        self._pool = ""
        self._at = 0

    def next(self) -> bytes:
        """A traceparent: sampled, for whoever asks the gateway to begin traces wants to see them."""
        while True:
            at = self._at
            if at >= len(self._pool):
                self._pool, at = self._random(_REFILL).hex(), 0
            self._at = at + 2 * _RANDOM_BYTES
            trace, span = self._pool[at : at + 32], self._pool[at + 32 : at + 48]
            if trace != _NO_TRACE and span != _NO_SPAN:
                return f"00-{trace}-{span}-01".encode()
