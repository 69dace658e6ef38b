"""The audit command against a broker: what it reads, and how it exits."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from confluent_kafka import Producer

from firmware_sim import payload
from firmware_sim.kafka_reader import KafkaReader
from firmware_sim.ledger import Acknowledged, Head, LedgerWriter, Sent, Truth

DEVICES = [f"dev-{number:05}" for number in range(1, 6)]
EACH = 20


def _publish(bootstrap: str, ledger: Path, skip: tuple[str, int] | None = None) -> None:
    """Write a ledger, and into Kafka what it says; without one message, if told so."""
    writer, producer = LedgerWriter(ledger), Producer({"bootstrap.servers": bootstrap})
    writer.write(Head("m", "devices/{device}/telemetry/main", 0))
    for n in range(1, EACH + 1):
        for device in DEVICES:
            value = payload.encode(device, n, 1, time.time_ns(), "m", 128)
            writer.write(Sent(device, n, 1, time.time_ns(), payload.digest(value)))
            writer.write(Acknowledged(device, n, time.time_ns()))
            if (device, n) != skip:
                headers = {"mqtt-topic": f"devices/{device}/telemetry/main".encode()}
                producer.produce("telemetry", value, device, headers=headers)
    for device in DEVICES:
        writer.write(Truth(device, False, {}, True))
        document = {"device": device, "presence": {"state": "offline"}}
        producer.produce("device-state", json.dumps({**document, "presence": {"state": "online"}}), device)
        producer.produce("device-state", json.dumps(document), device)
    writer.close()
    assert producer.flush(20) == 0


def _audit(bootstrap: str, ledger: Path) -> subprocess.CompletedProcess[str]:
    options = ["--ledger", str(ledger), "--kafka", bootstrap, "--topic", "telemetry", "--state-topic", "device-state"]
    return subprocess.run(
        [sys.executable, "-m", "firmware_sim", "audit", *options, "--json"], capture_output=True, text=True, check=False
    )


def test_a_clean_audit_exits_0(embedded_kafka: str, tmp_path: Path) -> None:
    _publish(embedded_kafka, tmp_path / "ledger")
    done = _audit(embedded_kafka, tmp_path / "ledger")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["arrived"] == found["acknowledged"] == len(DEVICES) * EACH
    assert found["documents"] == len(DEVICES)


def test_a_lost_message_exits_3(embedded_kafka: str, tmp_path: Path) -> None:
    _publish(embedded_kafka, tmp_path / "ledger", skip=("dev-00003", 7))
    done = _audit(embedded_kafka, tmp_path / "ledger")
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["lost"]["examples"] == ["dev-00003 7, QoS 1, acknowledged, is not there"]


def test_a_reader_goes_on_where_it_was(embedded_kafka: str, tmp_path: Path) -> None:
    _publish(embedded_kafka, tmp_path / "one")
    with KafkaReader(embedded_kafka, "telemetry") as reader:
        assert len(reader.read_to_end()) == len(DEVICES) * EACH
        assert reader.read_to_end() == []
        _publish(embedded_kafka, tmp_path / "two")
        assert len(reader.read_to_end()) == len(DEVICES) * EACH
