"""Devices watched: a page that is drawn again on a terminal, a line of JSON for each change in a pipe or a file."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from bridge.cli.device_page import page_lines
from bridge.cli.device_table import Listed, device_lines, summary
from bridge.cli.device_view import Place
from bridge.cli.failure import Failure
from bridge.cli.output import until_the_reader_goes
from bridge.row import Asked, Row, row_of, with_belief

if TYPE_CHECKING:
    from rich.live import Live

LOOK_S = 0.5
"""Between two looks at the topic."""
_REVIEW_S = 2.0
"""Between two looks at those whose documents have not changed: leases end, and gateways start again."""
_AGAIN_S = 2.0
"""After a look that failed."""
Draw = Callable[[int], Iterable[str]]
"""The lines of a page with room for so many."""


class Watched:
    """The devices asked for, and how they were when they were last told of."""

    def __init__(self, place: Place, asked: Asked) -> None:
        self._place = place
        self._asked = asked
        self._rows: dict[str, Row] = {}
        self._told: dict[str, str] = {}
        """States, as last told."""

    def take(self, changed: Iterable[str], *, review: bool) -> Iterator[bytes]:
        """Yield a line for each device that is not as it was told.

        One that is not asked for any more is told of once more, as it is then.

        Args:
            changed: their documents are others now, or gone.
            review: of the others something else may be believed by now.
        """
        renewed = set(changed)
        for device in renewed:
            value = self._place.documents.get(device)
            if value is not None:
                self._rows[device] = row_of(value)
            elif self._rows.pop(device, None) is not None and self._told.pop(device, None) is not None:
                yield msgspec.json.encode({"device": device, "removed": True})
        for device in self._rows if review else renewed & self._rows.keys():
            row = self._rows[device]
            belief, told = self._place.belief(device, row), self._told.get(device)
            if self._asked.takes(row, belief):
                if device not in renewed and told == belief.state:
                    continue
                self._told[device] = belief.state
            elif self._told.pop(device, None) is None:
                continue
            yield with_belief(self._place.documents[device], belief)

    def found(self) -> list[Listed]:
        """Those asked for, by id."""
        beliefs = (
            (device, self._rows[device], self._place.belief(device, self._rows[device]))
            for device in sorted(self._rows)
        )
        return [(device, row, belief) for device, row, belief in beliefs if self._asked.takes(row, belief)]

    def draw(self, room: int) -> Iterator[str]:
        """Yield the lines of a table, with how many there are in the last."""
        found = self.found()
        yield from device_lines(found[: room - 2])
        more = f" ({len(found) - room + 2} more than there is room for)" if len(found) > room - 2 else ""
        yield summary(found) + more


async def watch_list(place: Place, asked: Asked) -> None:
    """Until somebody ends it."""
    watched = Watched(place, asked)
    await _watch(place, watched, watched.draw)


async def watch_one(place: Place, device: str) -> None:
    """Of one device; until somebody ends it."""

    def draw(room: int) -> Iterator[str]:
        value = place.documents.get(device)
        if value is None:
            yield f"there is no document of {device}"
            return
        yield from page_lines(device, value, place.belief(device, row_of(value)))

    await _watch(place, Watched(place, Asked((device,))), draw)


async def _watch(place: Place, watched: Watched, draw: Draw) -> None:
    """Looks again and again; where Kafka is away, that is said, and it is tried again."""
    from bridge.bus_side.fleet import FleetError

    changed, trouble, reviewed = set(place.documents), "", 0.0
    with _screen() as live, until_the_reader_goes():
        while True:
            if review := time.monotonic() - reviewed >= _REVIEW_S:
                reviewed = time.monotonic()
            lines = [line.decode() + "\n" for line in watched.take(changed, review=review)]
            if live is None:
                sys.stdout.write("".join(lines))
                sys.stdout.flush()
            elif lines or review:
                _show(live, draw, trouble)
            await asyncio.sleep(_AGAIN_S if trouble else LOOK_S)
            try:
                changed = await place.refresh()
                trouble = ""
            except (FleetError, Failure) as error:
                if live is None and trouble != str(error):
                    print(f"busbridge: {error}; tried again", file=sys.stderr)
                changed, trouble = set(), str(error)


@contextlib.contextmanager
def _screen() -> Iterator[Live | None]:
    """None where standard output is no terminal."""
    if not sys.stdout.isatty():
        yield None
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(markup=False, highlight=False), screen=True, auto_refresh=False) as live:
        yield live


def _show(live: Live, draw: Draw, trouble: str) -> None:
    from rich.text import Text

    lines = list(draw(live.console.size.height - 1))
    if trouble:
        lines.insert(0, f"as it was; now {trouble}")
    live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
