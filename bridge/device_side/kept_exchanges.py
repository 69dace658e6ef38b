"""QoS 2 publications whose PUBREL has not come, and which sessions that stay have on disk.

Said again after a kill, such a message is not given to them a second time.

It is on disk with the rows of those sessions, in one commit; the log, which is committed before, cannot know of it. A
message that is in no log, for it has no route, has its hand-shake here only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from bridge.device_side.cold import ColdStore
from bridge.device_side.kept_sessions import KeptSessions

_SEPARATOR = "\0"
"""Between a session's name and the packet identifier in a key; in the name it may stand, too."""
_IN_LOG, _LOCAL = b"log", b""


class KeptExchanges:
    """Session → packet identifiers."""

    def __init__(self, cold: ColdStore, kept: KeptSessions) -> None:
        """`kept`: with whose messages they are written."""
        self._cold = cold
        self._kept = kept
        self._open: dict[str, set[int]] = {}

    def restore(self, in_log: Mapping[str, set[int]], sessions: Iterable[str]) -> dict[str, set[int]]:
        """At start: what is open, by session.

        One whose end is in the log, or whose session is over, goes, and is off the disk when this returns: its packet
        identifier may be the next message's.
        """
        known = set(sessions)
        over = []
        for key, where in self._cold.load("exchanges"):
            session, _, number = key.rpartition(_SEPARATOR)
            packet_id = int(number)
            if session in known and (where == _LOCAL or packet_id in in_log.get(session, ())):
                self._open.setdefault(session, set()).add(packet_id)
            else:
                over.append(key)
        self._cold.write_all({("exchanges", key): None for key in over})
        return self._open

    def told(self, session: str, packet_id: int, *, in_log: bool) -> None:
        """Sessions that stay have been given the message: to be called in the same turn."""
        self._open.setdefault(session, set()).add(packet_id)
        self._kept.put("exchanges", _key(session, packet_id), _IN_LOG if in_log else _LOCAL)

    def is_told(self, session: str, packet_id: int) -> bool:
        """Whether `ended` is due."""
        return packet_id in self._open.get(session, ())

    def ended(self, session: str, packet_id: int, done: Callable[[], object]) -> None:
        """PUBREL came; `done` when that is on disk."""
        self._open[session].discard(packet_id)
        self._kept.put("exchanges", _key(session, packet_id), None)
        self._kept.when_kept(done)

    def session_over(self, session: str) -> None:
        """They end with the session they belong to."""
        for packet_id in self._open.pop(session, ()):
            self._kept.put("exchanges", _key(session, packet_id), None)


def _key(session: str, packet_id: int) -> str:
    return f"{session}{_SEPARATOR}{packet_id}"
