"""Open files: how many this process may have, and how many of them may be connections.

Where connections take the last of them, a segment of the queue cannot be opened any more; so some are kept back.
"""

from __future__ import annotations

import logging
import resource

import msgspec

from bridge.config import Limits

_log = logging.getLogger(__name__)
KEPT_BACK = 512
"""For the queue's files, the cold store, the bus side's pipe, the admin side."""


def raise_limit() -> int:
    """Raises the soft limit of open files to the hard one; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def fitting(limits: Limits, files: int) -> Limits:
    """`limits` with so few connections, and so few that wait to be heard, that `files` open files are enough."""
    room = max(files - KEPT_BACK, 2)
    half_open = min(limits.half_open, max(room // 4, 1))
    connections = min(limits.connections, room - half_open)
    if (connections, half_open) != (limits.connections, limits.half_open):
        _log.warning(
            "this process may have %d files open: it takes %d connections instead of %d, and %d that have said "
            "nothing yet (LimitNOFILE= in the unit, or ulimit -n)",
            files,
            connections,
            limits.connections,
            half_open,
        )
    return msgspec.structs.replace(limits, connections=connections, half_open=half_open)
