"""Status: how the daemon is doing at one moment; what health, metrics and `busbridge status` are made of."""

from __future__ import annotations

import msgspec

from bridge.log.doorbell import Health
from bridge.log.figures import Figures
from bridge.security.perishable import Perishable


class Clients(msgspec.Struct):
    """The MQTT clients of this gateway."""

    connected: int
    devices: int
    """That are connected; each may have several connections."""
    known: int
    """Connected, or with a session that waits for them."""
    connections: int
    """With those that have not said CONNECT yet."""
    subscriptions: int
    retained: int
    """Topics with a retained message."""
    queued_bytes: int = 0
    """Of messages that wait in sessions, as `limits.session_queues_bytes` counts them."""
    by_authority: dict[str, int] = {}
    """Connections, by the common name of the trusted CA that let them in; with those that nobody uses."""


class Traffic(msgspec.Struct):
    """Since the start of the process."""

    bytes_received: int
    bytes_sent: int
    publications_received: int
    publications_delivered: int
    """To subscribers on this gateway."""
    publications_dropped: int
    """For subscribers that were too slow, or away with a full queue."""


class Bounds(msgspec.Struct):
    """Where limits against abuse have been met (docs/limits.md)."""

    half_open: int
    """Connections that have said nothing yet, or wait for a handshake."""
    handshakes: int
    """In progress."""
    refused: dict[str, int]
    """Connections turned away without a look at who they are, by reason, since the start."""
    held: int
    """Connections that are not read at the moment for what they sent."""
    pauses: int
    """Of that kind, since the start."""
    memory_bytes: int
    """What connections hold."""
    memory_ended: int
    """Connections that ended because that was too much, since the start."""


class Lane(msgspec.Struct):
    """One lane of the uplink queue; positions are the next sequence number, sizes bytes."""

    committed: int
    """Behind the last record on disk."""
    forwarded: int
    """Behind the last record that Kafka has for certain."""
    pending_bytes: int
    """Appended, not yet on disk, so not yet acknowledged."""
    full: bool
    shortage: str | None
    """Why it cannot grow, in plain words."""
    log: Figures
    """What its log asks of the disk, and what waits in it."""


class Documents(msgspec.Struct):
    """Of devices."""

    kept: int
    """Devices that this gateway has a document of."""
    unwritten: int
    """Changed while their lane was full; written when there is room."""


class Commands(msgspec.Struct):
    """To devices."""

    pending: int
    """Not over yet."""
    outcomes: dict[str, int]
    """What was said of them since the start, by word; `queued` and `delivered` are not final."""


class BusSide(msgspec.Struct):
    """The process that forwards; None stands for one that does not run at the moment."""

    pid: int | None
    restarts: int
    health: Health


class Sparkplug(msgspec.Struct):
    """Edge nodes of Sparkplug; but for the first, since the start of the process."""

    nodes_alive: int
    """Born, and there."""
    births: int
    deaths: int
    gaps: int
    """Sequences in which messages are missing."""
    rebirths: int
    """Asked for."""
    invalid: int
    """Messages that are no Sparkplug, so dead letters."""


class Status(msgspec.Struct):
    """All of it."""

    gateway: str
    version: str
    epoch: int
    """One higher at each start."""
    pid: int
    started: float
    """Seconds since the epoch."""
    now: float
    """Seconds since the epoch: when this was said."""
    stopping: bool
    listeners: tuple[str, ...]
    clients: Clients
    traffic: Traffic
    bounds: Bounds
    lanes: dict[str, Lane]
    bus_side: BusSide | None
    """None: nothing is forwarded, this gateway is a local broker."""
    perishables: tuple[Perishable, ...]
    documents: Documents | None = None
    """None: there are none here."""
    commands: Commands | None = None
    """None: none are taken here."""
    sparkplug: Sparkplug | None = None
    """None: no route is."""
