"""The tail of a lane: what its log has, and the cold store may not have yet."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from bridge.log.errors import LogDamaged
from bridge.log.reader import LogReader
from bridge.log.record import Record

_log = logging.getLogger(__name__)

_RECORDS_MAX: Final = 1000
"""Of one read."""
_BYTES_MAX: Final = 4 << 20
"""Of one read."""


def records_until(committed: int, reader: LogReader) -> Iterator[Record]:
    """All that can be read up to `committed`; what cannot is named in the log.

    Raises:
        LogKeyMissing: a segment is encrypted with a key that is not here.
        OSError: the disk refuses.
    """
    while reader.position < committed:
        try:
            yield from reader.read(committed, _RECORDS_MAX, _BYTES_MAX)
        except LogDamaged as error:
            _log.error("%s; going on behind the damage", error)
            reader.skip_damage(committed)
