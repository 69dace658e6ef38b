"""Identity: whose log it is, and by which clocks its times are."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bridge.log.boot_clocks import BootClocks
from bridge.log.queue_key import Keyring


class Identity(msgspec.Struct, frozen=True):
    """What the writer puts into each header and frame."""

    log_id: bytes
    boot_id: bytes
    """16 bytes each."""
    wall_ns: Callable[[], int]
    """Unix nanoseconds."""
    mono_ns: Callable[[], int]
    """CLOCK_MONOTONIC, nanoseconds."""
    synchronised: Callable[[], bool]
    """Whether `wall_ns` is known to be right."""
    clocks: BootClocks
    """Of the boots whose records wait for the right time."""
    keys: Keyring
    """With a current one: what is written is encrypted."""
