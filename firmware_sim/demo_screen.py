"""Screen: what the demo shows while it runs. A live line on a terminal; elsewhere a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.status import Status

from firmware_sim.report import console

_PLAIN_EVERY_S = 2.0


class Screen:
    """Steps with their durations, and one line that changes."""

    def __init__(self) -> None:
        self.console = console()
        self._status: Status | None = None
        self._last_plain = 0.0

    def say(self, text: str, style: str = "") -> None:
        """Print one line that stays."""
        self.console.print(text, style=style, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show what is being done, and how long it took when it is done."""
        started = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(text) as self._status:
                yield
            self._status = None
        else:
            yield
        self.say(f"✓ {text}  ({time.monotonic() - started:.1f} s)", "green")

    def live(self, text: str) -> None:
        """Show how far the step is."""
        if self._status is not None:
            self._status.update(text)
        elif time.monotonic() - self._last_plain > _PLAIN_EVERY_S:
            self._last_plain = time.monotonic()
            self.say(f"  {text}")
