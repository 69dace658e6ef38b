"""The ledger: what a fleet published, what was acknowledged to it, and each device's truth at the end.

One append-only file of JSON Lines for a fleet. Lines are written as things happen, so that a ledger is worth something
even where the fleet itself was killed; a last line that was cut short is left out when it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import msgspec


class Head(msgspec.Struct, tag="head", tag_field="what"):
    """A run begins."""

    marker: str
    topic: str
    """With `{device}` in it."""
    at: int


class Sent(msgspec.Struct, tag="sent", tag_field="what"):
    """A telemetry message was handed to the network for the first time."""

    device: str
    n: int
    qos: int
    at: int
    """Unix ns."""
    digest: str


class Resent(msgspec.Struct, tag="resent", tag_field="what"):
    """It was sent once more, because a connection ended before its acknowledgement came."""

    device: str
    n: int
    at: int


class Acknowledged(msgspec.Struct, tag="acknowledged", tag_field="what"):
    """PUBACK (QoS 1) or PUBCOMP (QoS 2) came."""

    device: str
    n: int
    at: int


class Refused(msgspec.Struct, tag="refused", tag_field="what"):
    """It was answered with a reason code that says no (MQTT 5)."""

    device: str
    n: int
    at: int
    reason: str


class Truth(msgspec.Struct, tag="truth", tag_field="what"):
    """What a device knows of itself; the last one of a device counts."""

    device: str
    online: bool
    reported: dict[str, Any]
    """All merge patches it published, applied in order."""
    settled: bool
    """Everything it handed to the network was acknowledged."""
    desired: dict[str, Any] | None = None
    """The last desired state it received: `version` and `state`."""


Line = Head | Sent | Resent | Acknowledged | Refused | Truth


class LedgerWriter:
    """Appends lines to a ledger; buffered, so `flush` before somebody else reads."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("ab", buffering=1 << 16)
        self._encoder = msgspec.json.Encoder()

    def write(self, line: Line) -> None:
        """Append one line."""
        self._file.write(self._encoder.encode(line) + b"\n")

    def flush(self) -> None:
        """Hand all lines to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close; a second call does nothing."""
        self._file.close()


class Entry(msgspec.Struct):
    """All that a ledger says of one telemetry message."""

    device: str
    n: int
    qos: int
    sent_at: int
    digest: str
    times_sent: int = 1
    acknowledged_at: int | None = None
    refused: str | None = None


class Ledger(msgspec.Struct):
    """A ledger read back; several runs' ledgers may be read into one."""

    markers: dict[str, str] = msgspec.field(default_factory=dict)
    """The runs: marker → MQTT topic with `{device}` in it."""
    entries: dict[tuple[str, int, str], Entry] = msgspec.field(default_factory=dict)
    """By device, counter and marker."""
    truths: dict[str, Truth] = msgspec.field(default_factory=dict)

    def topic(self, name: tuple[str, int, str]) -> str:
        """Return the MQTT topic of a message, given by device, counter and marker."""
        return self.markers[name[2]].format(device=name[0])

    def devices(self) -> set[str]:
        """Name every device that published something or has a truth."""
        return {entry.device for entry in self.entries.values()} | set(self.truths)


def read_ledger(paths: Iterable[Path]) -> Ledger:
    """Read ledgers.

    Raises:
        OSError: a file cannot be read.
        ValueError: a line that is not the last is not a ledger's line (the file and line are named).
    """
    ledger = Ledger()
    for path in paths:
        _Reading(ledger).read(path)
    return ledger


class _Reading:
    """One file's way into a ledger: lines belong to the run that the last head line named."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._marker = ""

    def read(self, path: Path) -> None:
        decoder = msgspec.json.Decoder(Line)
        lines = path.read_bytes().split(b"\n")
        for number, text in enumerate(lines[:-1], 1):  # what follows the last newline was cut short, or is empty
            try:
                self._take(decoder.decode(text))
            except (msgspec.DecodeError, KeyError) as error:
                raise ValueError(f"{path}:{number}: not a line of a ledger: {error}") from error

    def _take(self, line: Line) -> None:
        entries = self._ledger.entries
        match line:
            case Head():
                self._marker = line.marker
                self._ledger.markers[line.marker] = line.topic
            case Sent():
                key = (line.device, line.n, self._marker)
                entries[key] = Entry(line.device, line.n, line.qos, line.at, line.digest)
            case Resent():
                entries[line.device, line.n, self._marker].times_sent += 1
            case Acknowledged():
                entries[line.device, line.n, self._marker].acknowledged_at = line.at
            case Refused():
                entries[line.device, line.n, self._marker].refused = line.reason
            case Truth():
                self._ledger.truths[line.device] = line
