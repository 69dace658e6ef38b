"""Plan: what a fleet is to do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Version = Literal["3.1.1", "5"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a fleet is told before it starts."""

    host: str
    port: int
    devices: tuple[str, ...]
    """Their ids, which are their client ids and the names on their certificates."""
    marker: str
    """Text planted in every payload; it names the run."""
    ca: Path | None = None
    """The CA of the server's certificate; None: no TLS."""
    certs: Path | None = None
    """Directory with `ID.pem` (chain and key) for each device."""
    topic: str = "devices/{device}/telemetry/main"
    rate: float = 100.0
    """Messages a second, all devices together."""
    messages: int = 0
    """For each device; 0: until told to stop."""
    qos: tuple[int, ...] = (1,)
    """A device takes them in turn."""
    size: int = 128
    """Bytes of a payload."""
    seal_for: tuple[Path, ...] = ()
    """Public keys, `NAME.pub`, that devices seal telemetry for before they publish it; none: as it is."""
    versions: tuple[Version, ...] = ("3.1.1", "5")
    """The devices take them in turn."""
    window: int = 8
    """Messages a device has in flight at most; the rest waits in its own memory."""
    report_every: int = 0
    """Messages between two patches of the reported state; 0: it reports only when it first connects."""
    state: bool = True
    """Whether devices report their state and subscribe to the desired one."""
    fresh: bool = True
    """Whether sessions that an earlier run left on the server are thrown away at the start. A simulated device keeps
    no packet ids between runs, and with old ones its QoS 2 messages would be taken for duplicates."""
    keepalive_s: int = 15
    connect_timeout_s: float = 5.0
    connect_threads: int = 8
    """Connections being made at once: paho's connect blocks through the TLS handshake."""
    backoff_s: float = 0.1
    backoff_max_s: float = 2.0
    session_expiry_s: int = 86_400
