"""`busbridge queue`: a look into the disk queue, whoever wrote it and whatever happened to it. It changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from bridge.cli.failure import FOUND, USAGE, Failure, plainly

if TYPE_CHECKING:
    from bridge.log.forensics import LaneFiles

PROGRESS_FROM = 256 << 20
"""Bytes from which on a progress bar is worth its flicker."""

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="A gateway's data directory, or the directory of one lane.")
]
Lanes = Annotated[list[str] | None, typer.Option("--lane", help="Only this lane; may be repeated.")]


def commands() -> typer.Typer:
    """Return the command group."""
    group = typer.Typer(no_args_is_help=True, help="The disk queue: of a stopped, a damaged or another gateway.")
    group.command("inspect")(inspect)
    group.command("verify")(verify)
    group.command("export")(export)
    return group


def inspect(
    directory: Directory,
    lane: Lanes = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, with every stream.")] = False,
) -> None:
    """Show lanes, segments, records per device and target, ages and bytes, and what is waiting and why.

    It only reads. Beside a running daemon the figures are those of the moment; Kafka's own position may be up to a
    second ahead of the one on disk.

    \b
    Example:
      busbridge queue inspect /var/lib/busbridge
    """
    from bridge.cli.queue_report import Report, lane_report

    lanes, daemon = _open(directory, lane)
    with plainly(), _progress(lanes, "Reading") as advance:
        report = Report(str(directory), daemon, [lane_report(files, daemon, advance) for files in lanes])
    if as_json:
        import msgspec

        print(msgspec.json.encode(report).decode())
    else:
        from bridge.cli.queue_table import print_report

        print_report(report)


def verify(directory: Directory, lane: Lanes = None) -> None:
    """Check every frame and what joins them; say where damage begins: file, byte, record. Exit code 3: there is some.

    \b
    Example:
      busbridge queue verify /var/lib/busbridge
    """
    from bridge.log.forensics import LaneWalk, faults
    from bridge.log.forensics_segment import Damage

    lanes, daemon = _open(directory, lane)
    damages = 0
    with plainly(), _progress(lanes, "Checking") as advance:
        for files in lanes:
            frames = records = 0
            found: list[Damage] = []
            walk = LaneWalk(files, live=daemon is not None)
            for item in walk:
                if isinstance(item, Damage):
                    found.append(item)
                else:
                    frames, records = frames + 1, records + len(item.records)
                    advance(item.size)
            found += faults(files, walk)
            damages += len(found)
            for damage in found:
                print(f"{files.name}: {damage}")
            print(f"{files.name}: {records} records in {frames} frames are good")
    if damages:
        raise Failure(f"{damages} thing{'s' * (damages != 1)} wrong in {directory}", FOUND)


def export(
    directory: Directory,
    lane: Lanes = None,
    pending: Annotated[bool, typer.Option("--pending", help="Only what is not known to be forwarded.")] = False,
    device: Annotated[str | None, typer.Option(help="Only this device's records.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there instead of standard output.")] = None,
    raw: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each payload as it is to DIR/LANE/NUMBER instead."),
    ] = None,
) -> None:
    """Write the queue's records, a JSON object a line, forwarded or not. `busbridge open` reads it.

    What the gateway forwarded is still there until its segment is used again. What cannot be read is named on stderr,
    the rest is exported, and the exit code is then 3.

    \b
    Examples:
      busbridge queue export /var/lib/busbridge --pending --out unsent.jsonl
      busbridge queue export /mnt/gw-7/busbridge --device plc-7 | busbridge open --key keys/data-team.key
    """
    if out is not None and raw is not None:
        raise Failure("give --out or --raw, not both", USAGE)
    lanes, daemon = _open(directory, lane)
    with plainly(), _progress(lanes, "Exporting") as advance:
        if raw is not None:
            damages = _export(lanes, None, raw, pending, device, daemon is not None, advance)
        else:
            with _output(out) as stream:
                damages = _export(lanes, stream, None, pending, device, daemon is not None, advance)
    if damages:
        raise Failure(f"{damages} place{'s' * (damages != 1)} could not be read; the rest is exported", FOUND)


def _export(
    lanes: list[LaneFiles],
    stream: BinaryIO | None,
    raw: Path | None,
    pending: bool,
    device: str | None,
    live: bool,
    advance: Callable[[int], None],
) -> int:
    """Return how many damages there were."""
    from bridge.cli.queue_export import line_of, wanted, write_payload
    from bridge.log.forensics_segment import Damage

    damages = 0
    for files in lanes:
        for item in wanted(files, pending=pending, device=device, live=live, advance=advance):
            if isinstance(item, Damage):
                print(f"{files.name}: {item}", file=sys.stderr)
                damages += 1
            elif raw is not None:
                write_payload(raw, files.name, item)
            elif stream is not None:
                stream.write(line_of(files.name, item))
    return damages


@contextmanager
def _output(path: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that has its name only when it is whole."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as stream:
        yield stream
    temporary.replace(path)


def _open(directory: Path, names: list[str] | None) -> tuple[list[LaneFiles], str | None]:
    """The lanes asked for, and the daemon that runs on them, which is said."""
    from bridge.cli.queue_lock import daemon_on
    from bridge.log.forensics import find_lanes

    with plainly():
        lanes = find_lanes(directory)
        daemon = daemon_on(directory)
    if not lanes:
        raise Failure(f"{directory} is no gateway's data directory, and no lane of one: there is no queue in it", USAGE)
    unknown = set(names or []) - {files.name for files in lanes}
    if unknown:
        there = ", ".join(files.name for files in lanes)
        raise Failure(f"no lane {', '.join(sorted(unknown))} here; there are: {there}", USAGE)
    if daemon is not None:
        print(f"A daemon (process {daemon}) runs on {directory}: this is how it is right now.", file=sys.stderr)
    return [files for files in lanes if not names or files.name in names], daemon


@contextmanager
def _progress(lanes: list[LaneFiles], what: str) -> Iterator[Callable[[int], None]]:
    total = sum(files.size() for files in lanes)
    if total < PROGRESS_FROM or not sys.stderr.isatty():
        yield lambda size: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda size: progress.advance(task, size)
