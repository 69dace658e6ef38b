"""Settings of what one daemon takes on: the shape of `[limits]`, a part of `bridge.config`. docs/limits.md says why."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bridge.quantities import KIB, MIB, Count, Rate, Size, Timeout


class Limits(msgspec.Struct, frozen=True):
    """What one daemon takes on."""

    connections: Count = 20_000
    half_open: Count = 4096
    """Connections that have not sent a whole TLS hello (without TLS: a byte) yet, and those that wait for a handshake.
    When one more comes, the one that has waited for longest at the address with the most of them goes."""
    handshakes: Count = 256
    """TLS handshakes in progress."""
    handshake_stall: Timeout = 2.0
    """How long a handshake may wait for its peer while others wait for its place."""
    handshake_threads: Count = 2
    handshake_timeout: Timeout = 10.0
    connect_timeout: Timeout = 10.0
    """From the handshake to CONNECT."""
    upgrade_bytes: Annotated[Size, msgspec.Meta(le=16 * KIB)] = 8 * KIB
    """Of the HTTP request that opens a WebSocket."""
    read_bytes: Annotated[Size, msgspec.Meta(ge=16 * KIB)] = 64 * KIB
    """Read from one connection before others have their turn."""
    output_bytes: Size = 1 * MIB
    """Waiting to be sent to one connection; beyond it QoS 0 is dropped for it and QoS 1 and 2 wait in its queue, beyond
    twice as much it is not read."""
    exchanges: Count = 1024
    """QoS 2 exchanges of one session that wait for its PUBREL: every segment of the queue carries them on."""
    exchanges_bytes: Size = 1 * MIB
    """Of all open exchanges in such a segment: 3 bytes each, and the sessions' names. Beyond it a session without one
    waits with its first, one with some is refused more. Never more than a quarter of a segment."""
    password_threads: Count = 1
    """That verify passwords and tokens, beside the event loop."""
    passwords_waiting: Count = 128
    """For one of these threads; beyond it connections are told that the server is busy."""
    topics_remembered: Count = 256
    """Topics of one connection whose permission and route are remembered."""
    retained: Count = 100_000
    """Topics with a retained message."""
    retained_bytes: Size = 64 * MIB
    """Their payloads, names and properties."""
    sessions: Count = 50_000
    """Clients known at once, connected or with a session that waits for them."""
    session_queues_bytes: Size = 256 * MIB
    """Of the messages that wait in the queues of all sessions together, each counted with 256 bytes more. Beyond it the
    session that holds the most (to within a factor of two) gives way, by its newest message or its oldest as
    `mqtt.queue_on_full` says; `$SYS/broker/publish/messages/dropped` counts these too."""
    inflight_bytes: Size = 64 * MIB
    """Of the messages that are in flight to all clients together, one that goes to many counted once. Looked at once a
    second; beyond it the sessions with the most let go of theirs, which are not sent again then, until an eighth is
    free; `$SYS/broker/publish/messages/dropped` counts them."""
    memory: Annotated[Size, msgspec.Meta(ge=MIB)] = 256 * MIB
    """What all connections hold together: packets that are not whole yet, messages that are held, output that is not
    read. Beyond it connections end, the one that holds the most first."""
    address_connects_per_s: Count | None = None
    """Connections from one address (of IPv6, from one /64). None: no bound, for a whole fleet may come from one."""
    address_burst: Count = 5000
    """So many at once, when it was quiet before."""
    address_failures_per_s: Count = 10
    """Failed attempts from one address: TLS, certificate, CONNECT. Beyond it the address is not listened to for 1 s,
    and for twice as long each time it goes on. Those that are connected stay."""
    address_failures_burst: Count = 500
    address_pause_max: Timeout = 60.0
    """The longest such pause."""
    address_exempt: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks without such bounds: a proxy's, or one behind which many devices share an address."""
    device_connects_per_s: Count | None = 10
    """Connections of one device, by its certificate; None: no bound. It is turned away behind the handshake."""
    device_burst: Count = 200
    messages_per_s: Count | None = None
    """Of one device; None: no bound. Beyond it the device is not read for a moment; nothing is dropped."""
    bytes_per_s: Annotated[Rate, msgspec.Meta(ge=1024)] | None = None
    """Of one device, as `messages_per_s`; at least 1 KiB/s."""
    rate_burst: Timeout = 10.0
    """So many seconds' worth of both may come at once, when it was quiet before."""
    sparkplug_metrics: Count = 500_000
    """Named by the births of all Sparkplug edge nodes together, a birth counting as one more: about 250 bytes each."""
    rates_remembered: Count = 10_000
    """Addresses, and devices, of which such rates are known; the least recently seen are forgotten."""
