"""A sealed payload's text is looked for everywhere: on the disk, in the log, in what is forwarded and in what fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from bridge.security import keys
from bridge.security.envelope import AlteredError, Opener, SealError, open_record
from firmware_sim.child import Child
from tests.interop.gateway import CHECKOUT, Gateway, wait_until
from tests.interop.paho_device import V5, V311, Device

SECRET = b"planted-plaintext-21.5"
TOPIC = "devices/%s/telemetry/t"
CONFIG = """
[[routes]]
filter = "devices/{{device}}/telemetry/#"
topic = "telemetry"
seal = "seal"
recipients = ["team"]
[[routes]]
filter = "devices/{{device}}/judged/#"
topic = "judged"
seal = "seal"
recipients = ["team"]
schema = {{ json = "reading.json" }}
[[routes]]
filter = "devices/{{device}}/nowhere/#"
topic = "nowhere"
partition = "99"
seal = "seal"
recipients = ["team"]
[recipients.team]
public_key = "team.pub"
[kafka]
bootstrap_servers = ["{kafka}"]
dead_letter_topic = "dead"
[log]
level = "debug"
[queue]
free_space_floor = "1 MiB"
segment_bytes = "2.5 MiB"
"""
Records = list[tuple[list[tuple[str, bytes]], bytes, bytes]]


@pytest.fixture
def kafka(tmp_path: Path):
    child = Child("firmware_sim.embedded_kafka", [], tmp_path / "embedded-kafka.out")
    yield child.wait_for("READY", 20)
    child.stop()


@pytest.fixture
def gateway(kafka: str, tmp_path: Path):
    directory = tmp_path / "gw"
    directory.mkdir()
    made = Gateway(directory, CONFIG.format(kafka=kafka), routes="", sink="")
    keys.new("team", directory)
    (directory / "reading.json").write_text('{"type": "object"}')
    yield made.start()
    if made.running:
        made.kill()


def read(kafka: str, topics: list[str], wanted: int) -> Records:
    consumer = Consumer({
        "bootstrap.servers": kafka, "group.id": "reader", "auto.offset.reset": "earliest", "log_level": 0,
        "isolation.level": "read_committed", "check.crcs": False, "topic.metadata.refresh.interval.ms": 500,
    })  # fmt: skip
    consumer.subscribe(topics)
    found: Records = []

    def enough() -> bool:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            found.append((list(message.headers() or []), message.key(), message.value()))
        return len(found) >= wanted

    wait_until(enough, f"{wanted} records", 60)
    consumer.close()
    return found


def test_nothing_planted_is_found_anywhere_and_readers_get_all_of_it(gateway: Gateway, kafka: str) -> None:
    for name, version in (("dev-1", V5), ("dev-2", V311)):
        with Device(gateway.port, name, version) as device:
            for qos in (0, 1, 2):
                device.publish(TOPIC % name, SECRET, qos)
            for kind in ("judged", "nowhere"):
                device.publish(f"devices/{name}/{kind}/t", SECRET, 1)
    records = read(kafka, ["telemetry", "judged", "dead"], 10)
    damage(gateway)
    gateway.start()
    wait_until(lambda: any((gateway.directory / "data").rglob("quarantine/*")), "the quarantine")
    assert gateway.stop() == 0

    files = [path for path in gateway.directory.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files if path.stat().st_size}
    assert {".seg", ".sqlite", ".log"} <= kinds
    assert any("quarantine" in path.parts for path in files)
    assert [path for path in files if SECRET in path.read_bytes()] == []
    for headers, key, value in records:
        assert SECRET not in b"".join((key, value, *(content for _, content in headers)))
    opener = Opener([keys.load_private(gateway.directory / "team.key")])
    assert [open_record(opener, *record).payload for record in records] == [SECRET] * 10
    assert {dict(headers).get("error") for headers, _, _ in records} == {None, b"schema-mismatch", b"unknown-partition"}
    exported = export(gateway)
    assert exported
    assert SECRET not in exported
    changes_nothing_unnoticed(opener, records[0])


def damage(gateway: Gateway) -> None:
    """Turns a bit in the middle of what the queue still holds."""
    assert gateway.stop() == 0
    lane = gateway.directory / "data" / "uplink" / "normal"
    segment = min(lane.glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[content.index(b"telemetry/t") + 40] ^= 1
    segment.write_bytes(content)


def export(gateway: Gateway) -> bytes:
    command = [sys.executable, "-m", "bridge", "queue", "export", str(gateway.directory / "data")]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=False).stdout


def changes_nothing_unnoticed(opener: Opener, record: tuple[list[tuple[str, bytes]], bytes, bytes]) -> None:
    """Every byte of the value and of the headers that it depends on; and another's key."""
    headers, key, value = record
    for at in range(len(value)):
        with pytest.raises(AlteredError):
            open_record(opener, headers, key, value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :])
    for name in ("seal", "seal-key", "mqtt-topic", "seq"):
        content = dict(headers)[name]
        for at in range(len(content)):
            changed = content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :]
            with pytest.raises(SealError):
                open_record(opener, {**dict(headers), name: changed}, key, value)
    with pytest.raises(AlteredError):
        open_record(opener, headers, b"dev-9", value)
