"""`busbridge queue replay`: a range of records, forwarded once more and marked so."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from bridge.cli.failure import FOUND, USAGE, Failure, plainly
from bridge.cli.loading import load_config
from bridge.cli.queue_source import open_lanes, progress, quiet_log, size_of

if TYPE_CHECKING:
    from bridge.bus_side.letter import Letter
    from bridge.bus_side.replay import Origin, Sent
    from bridge.cli.queue_range import Range
    from bridge.cli.queue_source import Advance
    from bridge.config import Config
    from bridge.log.record import Record

Part = tuple["Origin", Iterable["Record"]]
Gone = Callable[["Origin", Sequence["Record"], Sequence["Letter"]], None]
"""Is told after each transaction where its records came from, which they were, and which so far nobody took."""


class Summary(msgspec.Struct):
    """What a replay did."""

    replay: str
    """The value of the header of that name."""
    dry_run: bool
    records: int
    """That went out; on a dry run, that would."""
    dead_letters: dict[str, int]
    left_out: int
    """Documents older than what Kafka has."""


def replay(
    source: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="A data directory, a lane's, or an export.")],
    config: Annotated[Path, typer.Option("--config", help="The configuration: how to get into Kafka, and routes.")],
    lane: Annotated[list[str] | None, typer.Option("--lane", help="Only this lane; may be repeated.")] = None,
    begin: Annotated[
        str | None, typer.Option("--from", metavar="SEQ|TIME", help="The first: its number, or when it was received.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="SEQ|TIME", help="The last, likewise.")] = None,
    pending: Annotated[bool, typer.Option("--pending", help="Only what its disk does not call forwarded.")] = False,
    device: Annotated[str | None, typer.Option(help="Only this device's records.")] = None,
    topic: Annotated[str | None, typer.Option(metavar="FILTER", help="Only those on such MQTT topics.")] = None,
    gateway_id: Annotated[
        str | None, typer.Option("--gateway-id", help="Whose records these are, if not the configuration's gateway's.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count them, and send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Forward a range of messages again: those whose segments were not used again yet, or those of an export.

    Each record is as it was (same key, headers, `log` and `seq`), with a header `replay` more that is the same for one
    run. It works beside a running daemon, which it does not fence. Device documents go out only where Kafka has no
    newer ones, events never.

    \b
    Examples:
      busbridge queue replay /var/lib/busbridge --config busbridge.toml --lane normal --from 4000 --to 4999
      busbridge queue replay /var/lib/busbridge --config busbridge.toml --from 2026-11-21T08:00Z --dry-run
      busbridge queue replay letters.jsonl --config busbridge.toml
    """
    from bridge.cli.queue_range import Range, bound

    loaded = load_config(config)
    (first_seq, from_ns), (last_seq, to_ns) = bound(begin, "--from"), bound(end, "--to")
    wanted = Range(first_seq, last_seq, from_ns, to_ns, device, topic)
    gateway = gateway_id or loaded.gateway.id
    if source.is_file():
        from bridge.cli.queue_range import of_file

        if pending or lane:
            raise Failure("an export has no --pending and no --lane: it is what was exported", USAGE)
        parts = of_file(source, wanted, gateway)
        summary = run(loaded, parts, sum(len(records) for _, records in parts), dry_run=dry_run)
    else:
        summary = _of_directory(loaded, source, lane, wanted, gateway, pending=pending, dry_run=dry_run)
    show(summary, as_json=as_json)


def _of_directory(
    config: Config,
    directory: Path,
    names: list[str] | None,
    wanted: Range,
    gateway: str,
    *,
    pending: bool,
    dry_run: bool,
) -> Summary:
    from bridge.bus_side.replay import Origin
    from bridge.cli.queue_range import check_there, of_lane
    from bridge.log.errors import LogKeyMissing
    from bridge.log.forensics import DOWNLINK
    from bridge.log.key_files import KeyUnusable, keys_of

    with plainly(KeyUnusable):
        keys = keys_of(config.queue, os.environ)
    lanes = [files for files in open_lanes(directory, names, keys)[0] if files.name != DOWNLINK]
    by_number = wanted.first_seq is not None or wanted.last_seq is not None
    if by_number and len(lanes) > 1:
        raise Failure("numbers belong to one lane: name it with --lane, or give times", USAGE)
    size = size_of(lanes)
    with plainly(LogKeyMissing), progress(size, "Replaying") as advance:
        parts: list[Part] = []
        for files in lanes:
            check_there(files, wanted)
            since = max(wanted.first_seq or 0, files.position()) if pending else wanted.first_seq
            range_ = msgspec.structs.replace(wanted, first_seq=since)
            parts.append((Origin(gateway, files.name, files.log_id or bytes(16)), of_lane(files, range_, advance)))
        return run(config, parts, None, dry_run=dry_run)


def run(
    config: Config,
    parts: Sequence[Part],
    total: int | None,
    *,
    dry_run: bool,
    gone: Gone = lambda origin, records, refused: None,
) -> Summary:
    """Forwards all parts, one after another. `total`: records, for a progress bar of its own.

    Raises:
        Failure: stopped, another replay has begun, or some records were taken by nobody.
    """
    import asyncio
    import datetime

    if config.kafka is None:
        raise Failure("the configuration has no [kafka]: there is nowhere to forward to", USAGE)
    mark = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if dry_run:
        return Summary(mark, True, sum(1 for _, records in parts for _ in records), {}, 0)
    from bridge.bus_side.sink import SinkFenced

    with plainly(SinkFenced), progress(total or 0, "Replaying", at_least=10_000) as advance:
        sent = asyncio.run(_forward(config, parts, mark, advance, gone))
    summary = Summary(mark, False, sent.records, sent.dead_letters, sent.left_out)
    if sent.refused:
        show(summary, as_json=False)
        first = sent.refused[0]
        raise Failure(
            f"{len(sent.refused)} records were taken by nobody and are only where they were, the first of them "
            f"{first.lane} {first.record.seq}: {first.refusal.detail}; {first.not_taken}",
            FOUND,
        )
    return summary


async def _forward(
    config: Config,
    parts: Sequence[Part],
    mark: str,
    advance: Advance,
    gone: Gone,
) -> Sent:
    """Ctrl-C ends it between two awaits: what is in an open transaction then comes to nothing."""
    from bridge.bus_side.replay import Replay

    if config.kafka is None:
        raise Failure("the configuration has no [kafka]", USAGE)
    at: list[Origin] = []

    def report(records: Sequence[Record], refused: Sequence[Letter]) -> None:
        advance(len(records))
        gone(at[-1], records, refused)

    replaying = Replay(config, config.kafka, mark, quiet_log("replay"), away=_Once(), gone=report)
    for origin, records in parts:
        at.append(origin)
        await replaying.forward(origin, records)
    return replaying.sent


class _Once:
    """Says each reason once, on stderr."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            print(f"Kafka is away, it is tried again (Ctrl-C ends it): {reason}", file=sys.stderr)


def show(summary: Summary, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        print(msgspec.json.encode(summary).decode())
        return
    would = "would be forwarded" if summary.dry_run else f'forwarded, marked replay="{summary.replay}"'
    print(f"{summary.records} records {would}")
    for reason, count in summary.dead_letters.items():
        print(f"{count} dead letters: {reason}")
    if summary.left_out:
        print(f"{summary.left_out} device documents left out: Kafka has newer ones")
