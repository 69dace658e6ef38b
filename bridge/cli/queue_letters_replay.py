"""`busbridge queue dead-letters DIR replay`: letters that stayed, forwarded after all."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.cli.dead_letters import Filed, Settled, waiting_letters
from bridge.cli.failure import FOUND, Failure, plainly
from bridge.cli.loading import load_config
from bridge.cli.queue_replay import run, show

if TYPE_CHECKING:
    from bridge.bus_side.letter import Letter
    from bridge.bus_side.replay import Origin
    from bridge.log.forensics import LaneFiles
    from bridge.log.record import Record


def replay_letters(files: LaneFiles, config: Path, *, dry_run: bool, as_json: bool) -> None:
    """Forward all that wait; those that Kafka has then are not listed any more, and their room is given back.

    Raises:
        Failure: stopped, or some stay.
    """
    from bridge.bus_side.replay import Origin

    loaded = load_config(config)
    waiting, damages = _waiting(files)
    parts: dict[Origin, list[Record]] = {}
    each_once = {filed.letter.mark: filed.letter for filed in waiting}
    for letter in sorted(each_once.values(), key=lambda each: each.record.seq):
        parts.setdefault(Origin(letter.gateway, letter.lane, letter.log_id), []).append(letter.record)
    books = _Books(files, waiting)
    summary = run(loaded, list(parts.items()), len(each_once), dry_run=dry_run, gone=books.gone)
    show(summary, as_json=as_json)
    if damages:
        raise Failure(f"{damages} place{'s' * (damages != 1)} in {files.directory} could not be read", FOUND)


def _waiting(files: LaneFiles) -> tuple[list[Filed], int]:
    waiting, damages = [], 0
    from bridge.log.errors import LogKeyMissing

    with plainly(LogKeyMissing):
        for item in waiting_letters(files, each_once=False):
            if isinstance(item, Filed):
                waiting.append(item)
            else:
                print(item, file=sys.stderr)
                damages += 1
    return waiting, damages


class _Books:
    """Which letters are settled, durably, after each transaction: a replay that is killed repeats one at the most."""

    def __init__(self, files: LaneFiles, waiting: Sequence[Filed]) -> None:
        self._files = files
        self._waiting = list(waiting)
        self._settled = Settled.load(files)

    def gone(self, origin: Origin, records: Sequence[Record], refused: Sequence[Letter]) -> None:
        stays = {letter.mark for letter in refused}
        marks = {(origin.log_id, origin.lane, record.seq) for record in records} - stays
        self._settled.numbers |= {filed.number for filed in self._waiting if filed.letter.mark in marks}
        left = [filed.number for filed in self._waiting if filed.number not in self._settled.numbers]
        end = self._waiting[-1].number + 1
        with plainly():
            self._settled.save(self._files, min(left, default=end))
