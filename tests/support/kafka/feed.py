"""Feed: stands where the device side does. Writes uplink lanes and rings the bus side's bell."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from bridge.log.doorbell import Note
from bridge.log.fold import NoFold
from bridge.log.log_id import load_or_create_log_id
from bridge.log.record import CLOCK_SYNCHRONISED, MESSAGE, encode, encode_context
from bridge.log.settings import LogSettings
from bridge.log.writer import LogWriter

_BOOT = bytes(range(16))
MIB = 1 << 20


class Feed:
    """Lanes under `data_dir/uplink`; numbers what it writes per device, from 1."""

    def __init__(
        self,
        data_dir: Path,
        lanes: Sequence[str] = ("normal",),
        *,
        topic: str = "telemetry",
        max_bytes: int = 1024 * MIB,
    ) -> None:
        uplink = data_dir / "uplink"
        self.topic = topic
        self._max_bytes = max_bytes
        self.log_id = load_or_create_log_id(uplink)
        self.written: dict[str, int] = {}
        """By device, the last number."""
        self._moved = threading.Condition()
        self._lanes = {lane: self._open(uplink / lane) for lane in lanes}

    def note(self) -> Note:
        """What the door bell says now."""
        return Note(committed={name: writer.committed for name, writer in self._lanes.items()})

    def append(self, record: bytes, lane: str = "normal") -> int:
        """One record as it is; returns its sequence number."""
        return self._lanes[lane].append(record)

    def publish(self, devices: Sequence[str], count: int, lane: str = "normal", size: int = 0) -> None:
        """`count` messages of each device, durable on return; the payload says device and number."""
        for _ in range(count):
            for device in devices:
                number = self.written[device] = self.written.get(device, 0) + 1
                payload = json.dumps({"device": device, "n": number}).encode().ljust(size)
                self.append(message(device, payload, self.topic), lane)
        self.sync()

    def sync(self) -> None:
        """Everything appended is durable on return."""
        for writer in self._lanes.values():
            writer.kick()
            with self._moved:
                assert self._moved.wait_for(lambda writer=writer: writer.committed == writer.next_seq, timeout=60)

    def forwarded(self, positions: dict[str, int]) -> None:
        for lane, position in positions.items():
            self._lanes[lane].forwarded(position)

    def close(self) -> None:
        for writer in self._lanes.values():
            writer.close()

    def _open(self, directory: Path) -> LogWriter:
        return LogWriter.open(
            directory,
            LogSettings(max_bytes=self._max_bytes, segment_bytes=4 * MIB),
            log_id=self.log_id,
            boot_id=_BOOT,
            wall_ns=time.time_ns,
            fold=NoFold(),
            on_commit=self._on_commit,
            on_failure=lambda failure: self._on_commit([], 0),
        )

    def _on_commit(self, _tokens: list[object], _committed: int) -> None:
        with self._moved:
            self._moved.notify_all()


def message(device: str, payload: bytes, topic: str = "telemetry", *, headers: bytes = b"", flags: int = 1) -> bytes:
    """A MESSAGE record as the device side writes it."""
    context = encode_context(device, f"devices/{device}/telemetry/t", topic)
    return encode(
        MESSAGE, flags | CLOCK_SYNCHRONISED, 7, time.time_ns(), time.monotonic_ns(), context, headers, payload
    )
