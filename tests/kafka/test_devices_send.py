"""`busbridge devices send` on a real Kafka; what a gateway would do with the command, the test does."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from confluent_kafka import Consumer

from tests.support.kafka import Broker
from tests.support.kafka.fetch import CHECKOUT


@pytest.mark.parametrize(("word", "code"), [("succeeded", 0), ("failed", 1)])
def test_it_sends_and_waits(kafka: Broker, make_site, make_topic, produce, word, code):
    topics = [f"{name}-{time.time_ns()}" for name in ("commands", "outcomes")]
    for topic in topics:
        make_topic(kafka.address, topic)
    extra = '[state]\n[downlink]\ncommand_topic = "{}"\noutcome_topic = "{}"\n'.format(*topics)
    site = make_site(kafka.address, extra=extra)
    command = [
        "devices",
        "send",
        "dev-1",
        "set",
        "--payload",
        '{"a": 1}',
        "--config",
        str(site.log.parent / "busbridge.toml"),
    ]
    sender = subprocess.Popen(
        [sys.executable, "-m", "bridge", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    reader = Consumer({"bootstrap.servers": kafka.address, "group.id": topics[0], "auto.offset.reset": "earliest"})
    reader.subscribe([topics[0]])
    message = reader.poll(60)
    reader.close()
    assert message is not None
    order = json.loads(message.value())
    assert (message.key(), order["name"], order["payload"], order["qos"]) == (b"dev-1", "set", {"a": 1}, 1)
    for name, outcome in (("other", "refused"), (order["id"], "queued"), (order["id"], word)):
        value = {"id": name, "outcome": outcome, "at": "", "payload": {"b": 2}, "detail": None, "record": "0:0"}
        produce(kafka.address, topics[1], (b"dev-1", json.dumps(value).encode()))
    out, err = sender.communicate(timeout=60)
    assert sender.returncode == code, err
    assert (out + err).decode().rstrip().endswith(f'{word}: {{"b":2}}')


def devices_send(*words):
    command = [sys.executable, "-m", "bridge", "devices", "send", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=60)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_what_stands_in_the_way_is_said(kafka, own_kafka):
    where = ["--kafka", kafka.address, "--command-topic", "no-such-topic"]
    assert devices_send("dev-1", "reboot", "--payload", "{", *where)[0] == 2
    assert devices_send("dev-1", "reboot", "--deadline", "soon", *where)[0] == 2
    assert devices_send("dev-1", "reboot")[0] == 2
    code, said = devices_send("dev-1", "reboot", *where)
    assert code == 1
    assert "Kafka has no topic 'no-such-topic'" in said
    assert devices_send("dev-1", "reboot", "--kafka", own_kafka.address)[0] == 1
