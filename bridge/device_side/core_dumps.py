"""Core dumps: none of this process, nor of what it starts. One would hold content keys, passwords and payloads."""

from __future__ import annotations

import resource


def forbid_core_dumps() -> None:
    """Sets the limit to nothing, for good; the bus side inherits it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
