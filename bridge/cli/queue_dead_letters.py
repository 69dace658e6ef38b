"""`busbridge queue dead-letters`: records that Kafka takes in no form and that so stay on the gateway."""

from __future__ import annotations

import sys
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from bridge.cli.failure import FOUND, USAGE, Failure, plainly
from bridge.cli.queue_source import KeyFiles, end_with_the_reader, keyring

if TYPE_CHECKING:
    from bridge.cli.dead_letters import Filed
    from bridge.log.forensics import LaneFiles
    from bridge.log.forensics_segment import Damage
    from bridge.log.queue_key import Keyring


class Action(StrEnum):
    """What to do with them."""

    LIST = "list"
    EXPORT = "export"
    REPLAY = "replay"


def dead_letters(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A gateway's data directory.")],
    action: Annotated[Action, typer.Argument(help="What to do with them.")] = Action.LIST,
    everything: Annotated[
        bool, typer.Option("--all", help="Those too that were forwarded after all and are still there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="list: print a JSON array.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="export: write there.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="replay: the configuration, how to get into Kafka.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="replay: count them, and send nothing.")] = False,
    key_file: KeyFiles = None,
) -> None:
    """List, export or forward the dead letters that stay on a gateway because the dead-letter topic does not take them.

    `export` writes a JSON object a line, as `queue export` does, with error, error_detail and original_partition beside
    it. `replay` forwards them to the topics they were for, marked as `queue replay` does; what is refused again goes to
    the dead-letter topic, or stays. It works beside the running daemon. Exit code 3: some could not be read, or stay.

    \b
    Examples:
      busbridge queue dead-letters /var/lib/busbridge
      busbridge queue dead-letters /var/lib/busbridge export --out letters.jsonl
      busbridge queue dead-letters /var/lib/busbridge replay --config /etc/busbridge/busbridge.toml
    """
    if action is Action.REPLAY:
        from bridge.cli.queue_letters_replay import replay_letters

        if config is None:
            raise Failure("replay needs --config: how to get into Kafka", USAGE)
        replay_letters(open_letters(directory, keyring(key_file)), config, dry_run=dry_run, as_json=as_json)
        return
    files = open_letters(directory, keyring(key_file))
    end_with_the_reader()
    if action is Action.LIST:
        damages = _list(files, everything=everything, as_json=as_json)
    else:
        damages = _export(files, out, everything=everything)
    if damages:
        raise Failure(f"{damages} place{'s' * (damages != 1)} in {files.directory} could not be read", FOUND)


def open_letters(directory: Path, keys: Keyring) -> LaneFiles:
    """The dead-letter log. Raises Failure: there is no such directory."""
    from bridge.cli.dead_letters import find_letters
    from bridge.log.forensics import LaneFiles, find_lanes

    with plainly():
        files = find_letters(directory)
        if files is None and not find_lanes(directory):
            raise Failure(f"{directory} is no gateway's data directory", USAGE)
    if files is None:
        return LaneFiles("dead-letters", directory / "dead-letters", None, directory / "dead-letters" / "LOG")
    return msgspec.structs.replace(files, keys=keys)


def _list(files: LaneFiles, *, everything: bool, as_json: bool) -> int:
    from bridge.cli.dead_letters import Filed, waiting_letters
    from bridge.cli.output import print_rows
    from bridge.log.errors import LogKeyMissing

    rows, damages = [], 0
    with plainly(LogKeyMissing):
        for item in waiting_letters(files, all_there=everything):
            if isinstance(item, Filed):
                rows.append(_row(item))
            else:
                damages += _say(item)
        dropped = sum(stream.count for each in files.dropped() for stream in each.streams)
    columns = ("kept", "device", "lane", "seq", "topic", "partition", "bytes", "error", "detail", "not_taken")
    if as_json or rows:
        print_rows(columns, rows, as_json=as_json)
    else:
        print("no dead letters stay here")
    if rows and not as_json:
        counted = Counter(row[7] for row in rows)
        print(f"{len(rows)} dead letters: " + ", ".join(f"{count} {error}" for error, count in counted.items()))
    if dropped:
        print(f"{dropped} older ones were dropped: kafka.dead_letter_max_bytes was reached", file=sys.stderr)
    return damages


def _row(filed: Filed) -> tuple[str, ...]:
    from bridge.device_side.clock import rfc3339
    from bridge.log.record import RecordError, decode_context

    letter = filed.letter
    try:
        device, _, _ = decode_context(letter.record.context)
    except RecordError:
        device = ""
    refusal = letter.refusal
    return (
        rfc3339(filed.kept_ns), device, letter.lane, str(letter.record.seq), letter.topic,
        "" if refusal.partition is None else str(refusal.partition), str(len(letter.record.payload)),
        refusal.error, refusal.detail, letter.not_taken,
    )  # fmt: skip


def _export(files: LaneFiles, out: Path | None, *, everything: bool) -> int:
    from bridge.cli.dead_letters import Filed, waiting_letters
    from bridge.cli.queue_export import letter_line
    from bridge.cli.queue_source import output
    from bridge.log.errors import LogKeyMissing

    damages = 0
    with plainly(LogKeyMissing), output(out) as stream:
        for item in waiting_letters(files, all_there=everything):
            if isinstance(item, Filed):
                stream.write(letter_line(item.letter))
            else:
                damages += _say(item)
    return damages


def _say(damage: Damage) -> int:
    print(damage, file=sys.stderr)
    return 1
