"""Auditor: holds what arrived against what a fleet's ledgers say.

It reads nothing itself; records are given to it in each partition's order. What it calls doubled: a second copy of a
QoS 2 or QoS 0 message, and of a QoS 1 message more copies than the device sent. Out of order: a message that appears
for the first time after one that the same device published later on the same topic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bridge.security.envelope import Opener, SealError
from firmware_sim import payload
from firmware_sim.arrival import Arrival
from firmware_sim.findings import Delay, Findings
from firmware_sim.ledger import Entry, Ledger

Name = tuple[str, int, str]
"""Of a message: device, counter, marker."""


class Auditor:
    """One audit: `take` every record, then ask for `findings`."""

    def __init__(self, opener: Opener | None = None) -> None:
        self._opener = opener
        self._copies: dict[Name, list[tuple[Arrival, str, str]]] = {}
        self._highest: dict[tuple[str, str, str], int] = {}
        self._late: list[tuple[Name, Arrival, int]] = []
        self._unreadable: list[Arrival] = []
        self._unopened: list[tuple[Arrival, str]] = []
        self._sealed = self._sealed_by_device = 0
        self._numbers: dict[tuple[str, str], int] = {}
        self._number_of: dict[Name, int] = {}
        self._repeated: list[str] = []

    def take(self, arrivals: Iterable[Arrival]) -> None:
        """Look at more records of the telemetry topics."""
        for arrival in arrivals:
            self._take(arrival)

    def missing(self, ledger: Ledger) -> int:
        """Count what was acknowledged and has not been seen."""
        return sum(e.acknowledged_at is not None and name not in self._copies for name, e in ledger.entries.items())

    @property
    def seen(self) -> int:
        """How many different messages were seen."""
        return len(self._copies)

    def to_kafka(self, ledger: Ledger, sent_in: Callable[[int], bool]) -> Delay | None:
        """Return how long messages took until a reader had them, of those whose sending time (Unix ns) is wanted."""
        delays = []
        for name, entry in ledger.entries.items():
            copies = self._copies.get(name)
            if copies and copies[0][0].seen_at is not None and sent_in(entry.sent_at):
                delays.append(copies[0][0].seen_at - entry.sent_at)
        return Delay.of(delays)

    def findings(self, ledger: Ledger) -> Findings:
        """Hold all that was taken against `ledger`."""
        found = Findings(devices=len(ledger.devices()), published=len(ledger.entries), sealed=self._sealed)
        found.sealed_by_device = self._sealed_by_device
        for example in self._repeated:
            found.repeated.note(example)
        self._hold_entries(ledger, found)
        self._hold_copies(ledger, found)
        for name, arrival, after in self._late:
            if name[2] in ledger.markers:
                found.reordered.note(f"{arrival.place}: {name[0]} {name[1]} after {after}")
        for arrival in self._unreadable:
            found.unknown.note(f"{arrival.place}: not a payload of a simulated device")
        for arrival, why in self._unopened:
            found.unopened.note(f"{arrival.place}: {why}")
        return found

    def _take(self, arrival: Arrival) -> None:
        self._sealed += arrival.sealed
        try:
            content, number = arrival.content(self._opener)
        except SealError as error:
            self._unopened.append((arrival, str(error)))
            return
        told = payload.decode(content)
        if told is None:
            self._unreadable.append(arrival)
            return
        name = (told.device, told.n, told.marker)
        if number is not None:
            self._note_number(name, number, arrival)
        if name not in self._copies:
            self._note_order(name, arrival)
        bare = Arrival(arrival.topic, arrival.key, None, {}, arrival.place, arrival.seen_at)  # memory: no payloads kept
        self._copies.setdefault(name, []).append((bare, payload.digest(content), arrival.mqtt_topic))

    def _note_number(self, name: Name, number: int, arrival: Arrival) -> None:
        """A copy has its message's number; any other message one above all before it on its topic."""
        self._sealed_by_device += 1
        stream = (name[0], arrival.mqtt_topic)
        known, highest = self._number_of.setdefault(name, number), self._numbers.get(stream, 0)
        if known != number or (name not in self._copies and number <= highest):
            self._repeated.append(f"{arrival.place}: {name[0]} {name[1]} is sealed as number {number}")
        self._numbers[stream] = max(highest, number)

    def _note_order(self, name: Name, arrival: Arrival) -> None:
        device, n, marker = name
        stream = (device, marker, arrival.mqtt_topic)
        highest = self._highest.get(stream, 0)
        if n < highest:
            self._late.append((name, arrival, highest))
        self._highest[stream] = max(n, highest)

    def _hold_entries(self, ledger: Ledger, found: Findings) -> None:
        to_acknowledged = []
        for name, entry in ledger.entries.items():
            copies = self._copies.get(name)
            if entry.acknowledged_at is not None:
                found.acknowledged += 1
                to_acknowledged.append(entry.acknowledged_at - entry.sent_at)
                if copies is None:
                    found.lost.note(f"{entry.device} {entry.n}, QoS {entry.qos}, acknowledged, is not there")
            found.refused += entry.refused is not None
        found.to_acknowledged = Delay.of(to_acknowledged)
        found.to_kafka = self.to_kafka(ledger, lambda _sent_at: True)

    def _hold_copies(self, ledger: Ledger, found: Findings) -> None:
        for name, copies in self._copies.items():
            if name[2] not in ledger.markers:
                found.foreign += len(copies)
                continue
            found.records += len(copies)
            entry = ledger.entries.get(name)
            if entry is None:
                found.unknown.note(f"{copies[0][0].place}: {name[0]} never published its number {name[1]}")
                continue
            found.arrived += 1
            _hold_count(entry, copies[-1][0], len(copies), found)
            for arrival, digest, topic in copies:
                _hold_content(entry, arrival, digest, topic, ledger.topic(name), found)


def _hold_count(entry: Entry, last: Arrival, copies: int, found: Findings) -> None:
    allowed = entry.times_sent if entry.qos == 1 else 1
    found.resent += min(copies, allowed) - 1
    for _ in range(copies - allowed):
        found.doubled.note(f"{last.place}: {entry.device} {entry.n}, QoS {entry.qos}, sent {entry.times_sent} times")


def _hold_content(entry: Entry, arrival: Arrival, digest: str, topic: str, told: str, found: Findings) -> None:
    if digest != entry.digest:
        found.altered.note(f"{arrival.place}: {entry.device} {entry.n} has another content")
    elif arrival.key != entry.device:
        found.altered.note(f"{arrival.place}: {entry.device} {entry.n} has the key {arrival.key!r}")
    elif topic != told:
        found.altered.note(f"{arrival.place}: {entry.device} {entry.n} has the topic {topic!r}, not {told!r}")
