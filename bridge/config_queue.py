"""Settings of the disk queue: the shapes of `[queue]` and `[lanes]`, a part of `bridge.config`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from bridge.quantities import GIB, KIB, MIB, Count, Duration, Percent, Size, Timeout


class Lane(msgspec.Struct, frozen=True):
    """What one lane of the queue does otherwise than `[queue]` says; None: as there."""

    weight: Count = 1
    max_bytes: Size | None = None
    segment_bytes: Size | None = None
    on_full: Literal["block", "drop_oldest"] | None = None
    device_share: Percent | None = None
    max_age: Duration | None = None
    linger: Duration = 0.0
    """How long its messages may wait for company before they are sent to Kafka: larger batches compress better, for a
    link that is paid by the byte."""
    linger_bytes: Size = 256 * KIB
    """As soon as so much waits (on disk, so before compression), it is sent without waiting any longer."""


class Commit(msgspec.Struct, frozen=True):
    """How messages share one write and one fdatasync."""

    max_delay: Duration = 0.0
    """How long a group commit may wait for company: spares flash, costs latency."""
    max_bytes: Size = 2 * MIB
    """Of the records in one group commit (one larger record is a frame of its own)."""


class Queue(msgspec.Struct, frozen=True):
    """The disk queue: bounds of each lane."""

    max_bytes: Size = 8 * GIB
    total_max_bytes: Size | None = None
    """Of all lanes together; each keeps room for two segments. None: no bound but each lane's own."""
    free_space_floor: Size = 512 * MIB
    """Of the file system; below it nothing new is taken in."""
    on_full: Literal["block", "drop_oldest"] = "block"
    """`block`: acknowledgements wait and reading stops; nothing acknowledged is ever dropped. `drop_oldest`: the oldest
    segments go, and gap records in the event topic say whose messages were in them."""
    device_share: Percent | None = None
    """Of a lane, in percent: what may wait in it for one device; beyond that it is held as if the lane were full. None:
    half of a lane that blocks, as soon as other devices use it too, or half of its last segment is left."""
    refuse_after: Duration = 30.0
    """How long MQTT 5 clients wait at a full lane, or at their share of it, before they are told so (PUBACK or PUBREC
    with 0x97) until there is room. Earlier versions have no such answer and wait on."""
    max_age: Duration = 0.0
    """Segments whose messages all wait for longer than this are dropped in the same way; 0: never."""
    segment_bytes: Size = 16 * MIB
    """At least twice `mqtt.max_packet_size` and 120 KiB; a lane takes at least four times that."""
    spare_segments: Count = 1
    """Segments of each lane written out with zeros ahead of time."""
    spare_segments_max: Count = 4
    """Segments of each lane kept for reuse when what was in them is forwarded; more are given back."""
    encrypt: bool = False
    """What is written from now on is encrypted (AES-256-GCM), topics and device names too; what is there stays."""
    encrypt_key_file: Path | None = None
    """64 hexadecimal digits (openssl rand -hex 32), for the service alone, or a systemd credential of that file's name.
    Without `encrypt` it opens what was encrypted before."""
    encrypt_old_key_files: tuple[Path, ...] = ()
    """Former keys, as long as something may be left that was written with them."""
    commit: Commit = Commit()
    pending_bytes: Size = 16 * MIB
    """Of records that wait for their commit in memory; beyond it reading from devices stops for a moment."""
    cursor_interval: Timeout = 1.0
    """Between two writes of the local cursor (Kafka holds the exact one)."""
