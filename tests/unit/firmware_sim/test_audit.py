"""What the audit must find, each tried with records made for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bridge.config import Sealing
from bridge.security.device_seal import DeviceSealer, SealedByDevice
from bridge.security.envelope import Opener, Sealer
from bridge.security.recipient import X25519, PrivateKey
from firmware_sim import payload
from firmware_sim.arrival import Arrival
from firmware_sim.audit import Auditor
from firmware_sim.findings import Findings
from firmware_sim.ledger import Acknowledged, Head, Ledger, LedgerWriter, Resent, Sent, read_ledger

TOPIC = "devices/{device}/telemetry/main"
MARKER = "planted"


class Run:
    """A run of one device, and what arrived of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer = LedgerWriter(path)
        self.writer.write(Head(MARKER, TOPIC, 1))
        self.values: dict[int, bytes] = {}

    def send(self, n: int, qos: int = 1, *, acknowledged: bool = True, times: int = 1) -> None:
        value = self.values[n] = payload.encode("dev-1", n, qos, 1_000_000 * n, MARKER, 128)
        self.writer.write(Sent("dev-1", n, qos, 1_000_000 * n, payload.digest(value)))
        for _ in range(times - 1):
            self.writer.write(Resent("dev-1", n, 2_000_000 * n))
        if acknowledged:
            self.writer.write(Acknowledged("dev-1", n, 1_000_000 * n + 5_000_000))

    def ledger(self) -> Ledger:
        self.writer.flush()
        return read_ledger([self.path])

    def audit(self, *numbers: int) -> Findings:
        auditor = Auditor()
        auditor.take(arrival(self.values[n], place=f"t/0@{at}") for at, n in enumerate(numbers))
        return auditor.findings(self.ledger())


def arrival(
    value: bytes, *, key: str = "dev-1", topic: str = "devices/dev-1/telemetry/main", place: str = ""
) -> Arrival:
    return Arrival("telemetry", key, value, {"mqtt-topic": topic.encode()}, place)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "ledger")


def test_all_there_once_and_in_order_is_clean(run: Run) -> None:
    for n in (1, 2, 3):
        run.send(n, qos=n % 3)
    found = run.audit(1, 2, 3)
    assert found.clean
    assert (found.published, found.acknowledged, found.arrived) == (3, 3, 3)
    assert found.to_acknowledged is not None
    assert found.to_acknowledged.p50_ms == 5.0


def test_what_was_acknowledged_and_is_not_there_is_lost(run: Run) -> None:
    run.send(1)
    run.send(2, acknowledged=False)
    found = run.audit()
    assert found.lost.count == 1
    assert "dev-1 1" in found.lost.examples[0]
    assert not found.clean


def test_a_copy_of_qos_1_is_doubled_only_where_the_device_sent_once(run: Run) -> None:
    run.send(1, qos=1, times=2)
    run.send(2, qos=1)
    found = run.audit(1, 1, 2, 2)
    assert (found.resent, found.doubled.count) == (1, 1)


def test_more_copies_than_sendings_are_doubled(run: Run) -> None:
    run.send(1, qos=1, times=2)
    assert run.audit(1, 1, 1).doubled.count == 1


def test_a_copy_of_qos_2_is_always_doubled(run: Run) -> None:
    run.send(1, qos=2, times=3)
    assert run.audit(1, 1).doubled.count == 1


def test_the_first_appearances_must_rise(run: Run) -> None:
    for n in (1, 2, 3):
        run.send(n, times=2)
    assert run.audit(1, 3, 2).reordered.count == 1
    assert run.audit(1, 2, 1, 2, 3).reordered.count == 0


def test_another_content_key_or_topic_is_altered(run: Run) -> None:
    for n in (1, 2, 3):
        run.send(n)
    auditor = Auditor()
    auditor.take([arrival(payload.encode("dev-1", 1, 1, 1_000_000, MARKER, 129))])
    auditor.take([arrival(run.values[2], key="dev-2"), arrival(run.values[3], topic="devices/dev-1/telemetry/other")])
    found = auditor.findings(run.ledger())
    assert found.altered.count == 3


def test_what_nobody_published_is_unknown_and_another_run_is_not(run: Run) -> None:
    auditor = Auditor()
    auditor.take([arrival(b"\xff\x00"), arrival(payload.encode("dev-1", 9, 1, 1, MARKER, 128))])
    auditor.take([arrival(payload.encode("dev-1", 1, 1, 1, "yesterday", 128))])
    found = auditor.findings(run.ledger())
    assert (found.unknown.count, found.foreign) == (2, 1)


def test_sealed_records_are_opened_and_altered_ones_are_told(run: Run) -> None:
    key = PrivateKey(X25519, bytes(range(32)))
    sealer = Sealer({"team": key.public}, Sealing(), lambda n: bytes(n))
    run.send(1)
    run.send(2)
    records = []
    for n in (1, 2):
        headers, value = sealer.seal("dev-1", "devices/dev-1/telemetry/main", n, run.values[n], 0.0)
        all_headers = {**dict(headers), "mqtt-topic": b"devices/dev-1/telemetry/main", "seq": b"%d" % n}
        records.append(Arrival("telemetry", "dev-1", value, all_headers, f"t/0@{n}"))
    altered = Arrival("telemetry", "dev-1", (records[1].value or b"")[:-1] + b"\x00", records[1].headers, "t/0@2")
    auditor = Auditor(Opener([key]))
    auditor.take([records[0], altered])
    found = auditor.findings(run.ledger())
    assert (found.arrived, found.sealed, found.unopened.count) == (1, 2, 1)


def test_without_the_key_nothing_opens(run: Run) -> None:
    auditor = Auditor()
    auditor.take([Arrival("telemetry", "dev-1", b"sealed", {"seal": b"1", "seq": b"1"}, "t/0@0")])
    found = auditor.findings(run.ledger())
    assert found.unopened.count == 1
    assert "no recipient's key" in found.unopened.examples[0]


def sealed_by_device(sealer: DeviceSealer, key: PrivateKey, value: bytes) -> Arrival:
    published = sealer.seal("devices/dev-1/telemetry/main", value)
    headers, sealed = SealedByDevice([key.public], 1).seal("dev-1", "devices/dev-1/telemetry/main", 1, published, 0.0)
    told = {"mqtt-topic": b"devices/dev-1/telemetry/main", **dict(headers)}
    return Arrival("telemetry", "dev-1", sealed, told, "t/0@0")


def test_a_number_of_an_earlier_message_is_found(run: Run) -> None:
    key = PrivateKey(X25519, b"k" * 32)
    for n in (1, 2, 3):
        run.send(n)
    run.send(4, times=2)
    auditor, sealer = Auditor(Opener([key])), DeviceSealer("dev-1", [key.public], os.urandom)
    good = [sealed_by_device(sealer, key, run.values[n]) for n in (1, 2, 4)]
    auditor.take([*good[:2], good[2], good[2]])
    found = auditor.findings(run.ledger())
    assert (found.sealed_by_device, found.repeated.count) == (4, 0)
    auditor.take([sealed_by_device(DeviceSealer("dev-1", [key.public], os.urandom), key, run.values[3])])
    assert auditor.findings(run.ledger()).repeated.examples == ["t/0@0: dev-1 3 is sealed as number 1"]
