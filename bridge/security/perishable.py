"""Perishable: what ends by itself one day, and when. Only a struct, for whoever asks a daemon: what reads the files is
`perishables`, with all of `cryptography` behind it."""

from __future__ import annotations

import msgspec


class Perishable(msgspec.Struct, frozen=True):
    """One file's content."""

    file: str
    what: str
    """For example `certificate of CN=gateway.site-7.example`."""
    ends: float
    """Seconds since the epoch."""
    begins: float = 0.0
    """Seconds since the epoch; what lives for days only is not looked after a month ahead."""
