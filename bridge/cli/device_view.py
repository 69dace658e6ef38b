"""Where device documents are looked at: the state topic, from its beginning to its end and then to each new end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, TypeVar

import typer

from bridge.belief import Belief, believed
from bridge.cli.cluster import configured
from bridge.cli.failure import USAGE, Failure, plainly
from bridge.cli.queue_source import progress, quiet_log
from bridge.row import Row

if TYPE_CHECKING:
    from bridge.bus_side.roster import Roster

Answer = TypeVar("Answer")
Topic = Annotated[
    str | None, typer.Option("--topic", help="The state topic; else as the configuration says, or device-state.")
]
Margin = Annotated[
    float | None,
    typer.Option(min=0, help="Seconds that clocks may differ: a lease is over so long after its end; else as "
    "state.sweep_margin says."),
]  # fmt: skip
Watch = Annotated[
    bool,
    typer.Option("--watch", help="Go on until Ctrl-C: live on a terminal, a line of JSON for each change in a pipe."),
]
_PROGRESS_FROM = 20_000
"""Records from which on a progress bar is worth its flicker."""


class Place(Protocol):
    """What there is to be seen of devices, and of gateways."""

    name: str
    """In messages."""

    @property
    def documents(self) -> Mapping[str, bytes]:
        """Of devices, by id."""

    async def refresh(self) -> set[str]:
        """Looks again; the devices whose documents are others now, or gone. Raises FleetError."""

    def belief(self, device: str, row: Row) -> Belief:
        """What may be believed of a device, as of the last look."""


class StateTopic:
    """See `Place`."""

    def __init__(self, roster: Roster, name: str, margin_s: float) -> None:
        self.name = name
        self._roster = roster
        self._margin_s = margin_s
        self._before = ""

    @property
    def documents(self) -> Mapping[str, bytes]:
        return self._roster.documents

    async def refresh(self) -> set[str]:
        from bridge.bus_side.gap import rfc3339

        self._before = rfc3339(time.time_ns() - int(self._margin_s * 1e9))
        return await self._roster.refresh()

    @property
    def gateways(self) -> Mapping[str, bytes]:
        """Their own records, by id."""
        return self._roster.gateways

    def alive(self, gateway: str) -> bool:
        """Whether its lease holds, as of the last look."""
        life = self._roster.lives.get(gateway)
        return life is not None and life.lease_until >= self._before

    def belief(self, device: str, row: Row) -> Belief:
        return believed(row.presence, self._roster.lives.get(row.gateway), self._before)


class Where(NamedTuple):
    """Where a command looks, by its options."""

    config: Path | None
    server: str | None
    topic: str | None
    margin_s: float | None
    local: bool
    data_dir: Path | None


def look(
    where: Where,
    patterns: Sequence[str],
    wanted: Callable[[str], bool],
    work: Callable[[Place], Coroutine[Any, Any, Answer]],
) -> Answer:
    """What the work makes of what is to be seen, which has been read once by then.

    Args:
        where: that is.
        patterns: of the devices that the work is about, none: all.
        wanted: the same for one device; called with each.
        work: gets the place.

    Raises:
        Failure: it cannot be read, and why.
    """
    from bridge.bus_side.fleet import FleetError

    if where.local and (where.server or where.topic):
        raise Failure("--local asks the daemon, which goes with neither --kafka nor --topic", USAGE)
    if where.data_dir is not None and not where.local:
        raise Failure("--data-dir goes with --local", USAGE)
    seen = _locally(where, patterns, work) if where.local else _in_topic(where, wanted, work)
    with plainly(FleetError):
        return asyncio.run(seen)


async def _locally(
    where: Where, patterns: Sequence[str], work: Callable[[Place], Coroutine[Any, Any, Answer]]
) -> Answer:
    from bridge.cli.local import directory_of
    from bridge.cli.local_devices import LocalDevices

    place = LocalDevices(directory_of(where.config, where.data_dir), patterns)
    try:
        await place.refresh()
        return await work(place)
    finally:
        await place.close()


async def _in_topic(
    where: Where, wanted: Callable[[str], bool], work: Callable[[Place], Coroutine[Any, Any, Answer]]
) -> Answer:
    from bridge.bus_side.roster import Roster
    from bridge.config import State

    settings, whence = configured(where.config, where.server)
    if settings.state is None and where.topic is None:
        raise Failure(f"{whence} has no [state]: which topic has the documents? (--topic)", USAGE)
    state = settings.state or State()
    kafka, name = settings.kafka, where.topic or state.topic
    assert kafka is not None
    noise = quiet_log("devices")
    with ExitStack() as bar:
        roster = Roster(kafka, name, noise, wanted=wanted, progress=bar.enter_context(reading()))
        servers = ", ".join(kafka.bootstrap_servers)
        margin = state.sweep_margin if where.margin_s is None else where.margin_s
        place = StateTopic(roster, f"the topic {name!r} of Kafka at {servers}", margin)
        try:
            await place.refresh()
            bar.close()
            return await work(place)
        finally:
            await roster.close()


@contextmanager
def until_interrupted(watch: bool) -> Iterator[None]:
    """Ctrl-C is how watching ends, and no error."""
    try:
        yield
    except KeyboardInterrupt:
        if not watch:
            raise


@contextmanager
def reading() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where that is a terminal and the topic is not small."""
    with ExitStack() as stack:
        advance: list[Callable[[int], None]] = []
        behind = [0]

        def tell(done: int, total: int) -> None:
            if not advance:
                advance.append(stack.enter_context(progress(total, "reading documents", at_least=_PROGRESS_FROM)))
            advance[0](done - behind[0])
            behind[0] = done

        yield tell
        advance[:] = [lambda done: None]
