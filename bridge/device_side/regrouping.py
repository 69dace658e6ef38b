"""Regrouping: documents follow what is desired of their groups, in the background and some at a time.

So a group of thousands stops nobody. A kill in between loses nothing: at start all documents are compared with their
groups.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from bridge.device_side.devices import Devices
from bridge.device_side.documents import DesiredState
from bridge.log.errors import LogFull


class Regrouping:
    """Brings documents into step with their groups, `at_once` of them in one turn of the loop."""

    def __init__(
        self,
        devices: Devices,
        *,
        soon: Callable[[Callable[[], object]], object],
        when_stored: Callable[[Callable[[], object]], object],
        at_once: int,
    ) -> None:
        """Args:
        devices: the documents, and what is desired of groups.
        soon: the loop's `call_soon`.
        when_stored: calls back, on the loop, when all that the cold store was given so far is on disk.
        at_once: how many between two looks at what else there is to be done.
        """
        self._devices = devices
        self._soon = soon
        self._when_stored = when_stored
        self._at_once = at_once
        self._to_do: deque[str] = deque()
        self._again = False
        self._running = False

    def take(self, name: str, desired: DesiredState | None, done: Callable[[], object]) -> None:
        """Takes over what is desired of a group, or with None that nothing is; `done` when that is durable.

        Raises:
            BadPatch: it is nested too deep; nothing was changed.
        """
        if desired is not None:
            self._devices.check_desired(desired)
        if self._devices.groups.take(name, desired):
            self.start()
        self._when_stored(done)

    def restore(self) -> None:
        """At start: a kill may have left some out of step."""
        self.start()

    def start(self) -> None:
        """Something has changed that may concern any device."""
        if self._to_do:
            self._again = True
        else:
            self._to_do.extend(self._devices.ids())
            self._run_soon()

    def look(self) -> None:
        """There may be room again."""
        if self._to_do:
            self._run_soon()

    def _run_soon(self) -> None:
        if not self._running:
            self._running = True
            self._soon(self._run)

    def _run(self) -> None:
        self._running = False
        try:
            for _ in range(min(self._at_once, len(self._to_do))):
                self._devices.regroup(self._to_do[0])
                self._to_do.popleft()
        except LogFull:
            return  # the state lane will have room again: `look`
        if not self._to_do and self._again:
            self._again = False
            self._to_do.extend(self._devices.ids())
        if self._to_do:
            self._run_soon()
