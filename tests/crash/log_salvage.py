"""A process that opens a lane whose disk has bad sectors, reads what there is and appends one record. Not a test.

It prints `record SEQ PAYLOAD`, `gap FIRST NEXT` and `committed`: `python log_salvage.py DIRECTORY`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.unit.log.lane import Lane
from tests.unit.log.test_reader import read_or_skip


def main(directory: Path) -> None:
    lane = Lane(directory)
    lane.commit(b"new")
    records, gaps, _ = read_or_skip(lane)
    for record in records:
        print("record", record.seq, record.payload.decode())
    for first, following in gaps:
        print("gap", first, following)
    lane.writer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
