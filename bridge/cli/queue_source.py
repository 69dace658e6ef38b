"""The lanes that a `queue` command is about: found, chosen, and read with a progress bar where that takes long."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from bridge.cli.failure import USAGE, Failure, plainly

if TYPE_CHECKING:
    from bridge.bus_side.noise import Noise
    from bridge.log.forensics import LaneFiles
    from bridge.log.queue_key import Keyring

PROGRESS_FROM = 256 << 20
"""Bytes from which on a progress bar is worth its flicker."""

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="A gateway's data directory, or the directory of one lane.")
]
Lanes = Annotated[list[str] | None, typer.Option("--lane", help="Only this lane; may be repeated.")]

KeyFiles = Annotated[
    list[Path] | None,
    typer.Option("--key-file", metavar="FILE", help="A key of an encrypted queue; may be repeated."),
]

Advance = Callable[[int], None]


def end_with_the_reader() -> None:
    """As other filters do: `… | head` ends the process, without a word. Not for a command that has connections."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def keyring(key_files: list[Path] | None) -> Keyring:
    """The keys in these files. Raises Failure."""
    import os

    from bridge.log.key_files import KeyUnusable, load_keys
    from bridge.log.queue_key import Keyring

    with plainly(KeyUnusable):
        return Keyring(None, load_keys(key_files or (), os.environ))


def open_lanes(directory: Path, names: list[str] | None, keys: Keyring | None) -> tuple[list[LaneFiles], str | None]:
    """The lanes asked for, and the process id of the daemon that runs on them, which is said on stderr.

    `keys` None: what is encrypted in them stays so.
    """
    import msgspec

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
    chosen = [files for files in lanes if not names or files.name in names]
    return [msgspec.structs.replace(files, keys=keys) for files in chosen], daemon


@contextmanager
def progress(total: int, what: str, *, at_least: int = PROGRESS_FROM) -> Iterator[Advance]:
    """A bar on stderr, where that is a terminal and `total` (bytes, or records) is not below `at_least`."""
    if total < at_least or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


def size_of(lanes: list[LaneFiles]) -> int:
    """Bytes of all their segments."""
    return sum(files.size() for files in lanes)


@contextmanager
def output(path: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that has its name only when it is whole."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as stream:
        yield stream
    temporary.replace(path)


def quiet_log(command: str) -> Noise:
    """This process's log, for a command that talks to Kafka: warnings on stderr, without aiokafka's own lines."""
    from bridge import journal
    from bridge.bus_side.kafka_parts import quieten
    from bridge.config import Log

    journal.set_up(Log(level="warning"), command)
    return quieten()
