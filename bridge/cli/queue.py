"""`busbridge queue`: a look into the disk queue, whoever wrote it and whatever happened to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from bridge.cli import queue_adopt, queue_dead_letters, queue_replay
from bridge.cli.failure import FOUND, USAGE, Failure, plainly
from bridge.cli.queue_source import (
    Advance,
    Directory,
    KeyFiles,
    Lanes,
    end_with_the_reader,
    keyring,
    open_lanes,
    output,
    progress,
    size_of,
)

if TYPE_CHECKING:
    from bridge.log.forensics import LaneFiles


def commands() -> typer.Typer:
    """Return the command group."""
    group = typer.Typer(no_args_is_help=True, help="The disk queue: of a stopped, a damaged or another gateway.")
    group.command("inspect")(inspect)
    group.command("verify")(verify)
    group.command("export")(export)
    group.command("replay")(queue_replay.replay)
    group.command("adopt")(queue_adopt.adopt)
    group.command("dead-letters")(queue_dead_letters.dead_letters)
    return group


def inspect(
    directory: Directory,
    lane: Lanes = None,
    key_file: KeyFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, with every stream.")] = False,
) -> None:
    """Show lanes, segments, records per device and target, ages and bytes, and what is waiting and why.

    It only reads. Beside a running daemon the figures are those of the moment; Kafka's own position may be up to a
    second ahead of the one on disk.

    \b
    Example:
      busbridge queue inspect /var/lib/busbridge
    """
    from bridge.cli.queue_report import make_report
    from bridge.log.errors import LogKeyMissing

    end_with_the_reader()
    lanes, daemon = open_lanes(directory, lane, keyring(key_file))
    with plainly(LogKeyMissing), progress(size_of(lanes), "Reading") as advance:
        report = make_report(directory, lanes, daemon, advance)
    if as_json:
        import msgspec

        print(msgspec.json.encode(report).decode())
    else:
        from bridge.cli.queue_table import print_report

        print_report(report)


def verify(
    directory: Directory,
    lane: Lanes = None,
    key_file: KeyFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array, an object a lane.")] = False,
) -> None:
    """Check every frame and what joins them; say where damage begins: file, byte, record. Exit code 3: there is some.

    What is encrypted is checked by its checksums; with --key-file by its seals too.

    \b
    Examples:
      busbridge queue verify /var/lib/busbridge
      busbridge queue verify /var/lib/busbridge --json | jq '.[].damage'
    """
    from bridge.cli.queue_check import check_lane
    from bridge.log.errors import LogKeyMissing

    end_with_the_reader()
    lanes, daemon = open_lanes(directory, lane, keyring(key_file) if key_file else None)
    with plainly(LogKeyMissing), progress(size_of(lanes), "Checking") as advance:
        checked = [check_lane(files, live=daemon is not None, advance=advance) for files in lanes]
    if as_json:
        import msgspec

        print(msgspec.json.encode(checked).decode())
    else:
        for each in checked:
            for found in each.damage:
                print(f"{each.lane}: {found.text}")
            unseen = f"; the seals of {each.sealed} were not checked, for want of a key" if each.sealed else ""
            print(f"{each.lane}: {each.records} records in {each.frames} frames are good{unseen}")
    damages = sum(len(each.damage) for each in checked)
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
        typer.Option(
            "--payloads", "--raw", metavar="DIR", help="Write each payload as it is to DIR/LANE/NUMBER instead."
        ),
    ] = None,
    key_file: KeyFiles = None,
) -> None:
    """Write the queue's records, a JSON object a line, forwarded or not. `busbridge open` reads it.

    What the gateway forwarded is still there until its segment is used again. What cannot be read is named on stderr,
    the rest is exported, and the exit code is then 3.

    \b
    Examples:
      busbridge queue export /var/lib/busbridge --pending --out unsent.jsonl
      busbridge queue export /var/lib/busbridge --device plc-7 --payloads plc-7
      busbridge queue export /mnt/gw-7/busbridge --device plc-7 | busbridge open --key keys/data-team.key
    """
    if out is not None and raw is not None:
        raise Failure("give --out or --payloads, not both", USAGE)
    from bridge.log.errors import LogKeyMissing

    end_with_the_reader()
    lanes, daemon = open_lanes(directory, lane, keyring(key_file))
    with plainly(LogKeyMissing), progress(size_of(lanes), "Exporting") as advance:
        if raw is not None:
            damages = _export(lanes, None, raw, pending, device, daemon is not None, advance)
        else:
            with output(out) as stream:
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
    advance: Advance,
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
                stream.write(line_of(files.name, files.log_id, item))
    return damages
