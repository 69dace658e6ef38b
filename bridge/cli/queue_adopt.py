"""`busbridge queue adopt`: the unsent part of a dead gateway's queue, forwarded in its name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from bridge.cli.failure import FAILED, USAGE, Failure, plainly
from bridge.cli.loading import load_config
from bridge.cli.queue_source import progress, quiet_log

if TYPE_CHECKING:
    from bridge.bus_side.adopt import Held
    from bridge.config import Config, Gateway, Kafka
    from bridge.log.boot_clocks import BootClocks
    from bridge.log.forensics import LaneFiles

PROGRESS_FROM = 10_000
"""Records from which on a progress bar is worth its flicker."""


class Plan(msgspec.Struct):
    """One lane: where it stands and what is to be done. Positions are the next sequence number."""

    lane: str
    cursor: int | None
    """On the dead gateway's disk."""
    kafka: int | None
    """Kafka's own, of the same log; exact, and as a rule further."""
    begin: int
    """Where this adoption begins."""
    end: int
    """Behind the last record."""
    forwarded: int = 0
    """Records sent by this adoption, numbers that are the gateway's own among them."""


def adopt(
    directory: Annotated[Path, typer.Argument(metavar="DEAD_DIR", help="The dead gateway's data directory.")],
    config: Annotated[Path, typer.Option("--config", help="A configuration file: it says how to get into Kafka.")],
    gateway_id: Annotated[
        str | None, typer.Option("--gateway-id", help="The dead gateway's id, unless the configuration is its own.")
    ] = None,
    documents: Annotated[
        bool, typer.Option("--documents/--no-documents", help="Device documents too, where Kafka has no newer ones.")
    ] = True,
    by_cursor: Annotated[
        bool, typer.Option("--by-cursor", help="Go on where its disk says, if Kafka has lost its positions.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a lane.")] = False,
) -> None:
    """Take over a dead gateway's queue: forward what is not in Kafka yet, as that gateway would have.

    Records keep the dead gateway's id, log and numbers. Kafka's own position counts, so nothing is doubled; killed and
    started again it goes on where it was. Should the gateway live after all, it is fenced and says so.

    The directory must be writable, and no daemon may run on it: of a disk that was taken out, or a copy of it.

    \b
    Examples:
      busbridge queue adopt /mnt/gw-7/busbridge --config /etc/busbridge/busbridge.toml --gateway-id gw-7 --dry-run
      busbridge queue adopt /mnt/gw-7/busbridge --config /etc/busbridge/busbridge.toml --gateway-id gw-7
    """
    from bridge.device_side.lock import DirectoryLock, Locked
    from bridge.log.errors import LogKeyMissing

    loaded = load_config(config)
    if loaded.kafka is None:
        raise Failure(f"{config} has no [kafka]: there is nothing to adopt into", USAGE)
    lanes = _opened(_lanes(directory), loaded)
    dead = _dead_gateway(loaded, directory, gateway_id)
    with plainly(Locked, LogKeyMissing), DirectoryLock(directory):
        plans = _plans(loaded.kafka, dead, lanes, by_cursor=by_cursor)
        if not dry_run:
            _adopt(msgspec.structs.replace(loaded, gateway=dead), plans, _clocks(lanes), documents=documents)
    _print(plans, as_json=as_json)


def _lanes(directory: Path) -> list[LaneFiles]:
    from bridge.log.forensics import UPLINK, find_lanes
    from bridge.log.segment import PAGE_BYTES, later_format

    with plainly():
        lanes = [files for files in find_lanes(directory) if files.directory.parent == directory / UPLINK]
        if not lanes:
            raise Failure(f"{directory} is no gateway's data directory: there is no {UPLINK}/ in it", USAGE)
        for path in (path for files in lanes for _, path in files.segments()):
            with path.open("rb") as file:
                version = later_format(file.read(PAGE_BYTES))
            if version is not None:
                raise Failure(f"{path} has format version {version}: adopt it with the busbridge that wrote it")
    return lanes


def _opened(lanes: list[LaneFiles], config: Config) -> list[LaneFiles]:
    """The lanes, with the keys that the configuration names. Raises Failure."""
    import os

    from bridge.log.key_files import KeyUnusable, keys_of

    with plainly(KeyUnusable, code=USAGE):
        keys = keys_of(config.queue, os.environ)
    return [msgspec.structs.replace(files, keys=keys) for files in lanes]


def _dead_gateway(config: Config, directory: Path, gateway_id: str | None) -> Gateway:
    from bridge.cli.queue_lock import daemon_on

    own = directory.resolve() == config.gateway.data_dir.resolve()
    if gateway_id is None and not own:
        raise Failure(
            f"whose queue is {directory}? Its records carry its gateway's id, and Kafka knows its positions by it: "
            "give it with --gateway-id",
            USAGE,
        )
    dead = gateway_id or config.gateway.id
    if dead == config.gateway.id and not own:
        with plainly():
            living = daemon_on(config.gateway.data_dir)
        if living is not None:
            raise Failure(
                f"gateway {dead} runs here (process {living} on {config.gateway.data_dir}), and would be fenced", USAGE
            )
    return msgspec.structs.replace(config.gateway, id=dead, data_dir=directory)


def _plans(kafka: Kafka, dead: Gateway, lanes: list[LaneFiles], *, by_cursor: bool) -> list[Plan]:
    """Raises Failure: Kafka's positions are another log's, or gone, or cannot be asked for."""
    from bridge.log.errors import LogKeyMissing

    held = _held(kafka, dead.id, lanes) if kafka.delivery == "exactly_once" else {}
    for files in lanes:
        found = held.get(files.name)
        if found is not None and files.log_id is not None and found.log != files.log_id.hex():
            raise Failure(
                f"lane {files.name}: Kafka's position of gateway {dead.id} belongs to another queue (log "
                f"{found.log or 'unknown'}), this one is {files.log_id.hex()}. Either the id is wrong, or that gateway "
                "has gone on with a new queue, and adopting would fence it: `queue replay --pending` instead"
            )
    with plainly(LogKeyMissing):
        plans = [_plan(files, held.get(files.name)) for files in lanes]
    lost = [plan.lane for plan in plans if plan.kafka is None and plan.cursor is not None]
    if kafka.delivery == "exactly_once" and len(lost) == len(plans) and not by_cursor:
        raise Failure(
            f"Kafka knows no position of a gateway {dead.id}, and its disk has one. Either the id is wrong, or Kafka "
            "has forgotten (offsets.retention.minutes): with --by-cursor it goes on where the disk says, and what was "
            "forwarded in the last second before the gateway's end may be doubled"
        )
    return plans


def _held(kafka: Kafka, gateway: str, lanes: list[LaneFiles]) -> dict[str, Held | None]:
    import asyncio

    from bridge.bus_side.adopt import KafkaUnreachable, held_positions

    names = tuple(files.name for files in lanes)
    with plainly(KafkaUnreachable):
        return asyncio.run(held_positions(kafka, gateway, names, quiet_log("adopt")))


def _plan(files: LaneFiles, held: Held | None) -> Plan:
    cursor = files.cursor()
    own = cursor.position if cursor is not None and files.log_id in (None, cursor.log_id) else None
    end = _end(files)
    kafka = held.position if held is not None else None
    known = [position for position in (own, kafka) if position is not None]
    segments = files.segments()
    oldest = segments[0][0] if segments else end
    return Plan(files.name, own, kafka, min(max(known), end) if known else oldest, end)


def _end(files: LaneFiles) -> int:
    """Behind the last record that is whole: the newest segment says it."""
    from bridge.log.forensics import LaneWalk

    segments = files.segments()
    if not segments:
        return files.position()
    walk = LaneWalk(files, since=segments[-1][0])
    for _ in walk:
        pass
    return walk.next_seq or segments[-1][0]


def _clocks(lanes: list[LaneFiles]) -> BootClocks:
    """What all lanes together know of boots whose clock was set late."""
    from bridge.log.boot_clocks import BootClocks

    clocks = BootClocks()
    for files in lanes:
        clocks.merge(files.clocks())
    return clocks


def _adopt(config: Config, plans: list[Plan], clocks: BootClocks, *, documents: bool) -> None:
    """Raises Failure: it was stopped, or fenced."""
    import asyncio

    from bridge.bus_side.adopt import Fenced, adopt

    begins = {plan.lane: plan.begin for plan in plans}
    done = dict(begins)
    total = sum(plan.end - plan.begin for plan in plans)
    with plainly(Fenced), progress(total, "Forwarding", at_least=PROGRESS_FROM) as advance:

        def tell(forwarded: Mapping[str, int]) -> None:
            for lane, position in forwarded.items():
                advance(max(0, position - done[lane]))
                done[lane] = max(done[lane], position)

        ends = {plan.lane: plan.end for plan in plans}
        outcome = asyncio.run(adopt(config, ends, clocks, quiet_log("adopt"), documents=documents, tell=tell))
    for plan in plans:
        plan.forwarded = done[plan.lane] - plan.begin
    if outcome.left_out:
        why = "another gateway wrote newer ones" if documents else "as asked for"
        print(f"{outcome.left_out} device documents were left out: {why}", file=sys.stderr)
    if not outcome.complete:
        raise Failure("stopped before the end: run it again, it goes on where it was", FAILED)


def _print(plans: list[Plan], *, as_json: bool) -> None:
    from bridge.cli.output import print_rows

    if as_json:
        print(msgspec.json.encode(plans).decode())
        return
    rows = [
        (plan.lane, str(plan.end - 1), _before(plan.cursor), _before(plan.kafka), str(plan.end - plan.begin),
         str(plan.forwarded))
        for plan in plans
    ]  # fmt: skip
    print_rows(("lane", "last", "its_disk_said", "kafka_has", "unsent", "forwarded"), rows, as_json=False)


def _before(position: int | None) -> str:
    return "nothing" if position is None else f"up to {position - 1}"
