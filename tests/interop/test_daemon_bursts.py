"""What a device sends in one go: taken in as runs of messages that are alike, and nobody can tell."""

from __future__ import annotations

import random

import pytest

from bridge.log.record import DUP, MESSAGE, RETAIN, decode_context, decode_headers
from tests.interop import properties as props
from tests.interop.conftest import NewGateway
from tests.interop.gateway import Gateway, wait_until
from tests.interop.wire import PUBACK, Wire, packet, publish

TOPIC, OTHER, ALARM = "devices/dev-1/telemetry/x", "devices/dev-1/telemetry/y", "devices/dev-1/alarm/x"
LOCAL = "devices/dev-1/local/x"


Sent = tuple[str, int, int, int, bytes]
"""Topic, QoS, flags, packet id and payload."""


def forwarded(gateway: Gateway, lane: str = "normal") -> list[Sent]:
    """The messages in a lane."""
    return [
        (decode_context(record.context)[1], record.qos, record.flags & (DUP | RETAIN), record.packet_id, record.payload)
        for record in gateway.records(lane)
        if record.kind == MESSAGE
    ]


def some(chance: random.Random, count: int) -> list[Sent]:
    """Messages, of which several in a row are often alike."""
    sent: list[Sent] = []
    topic, qos, flags = TOPIC, 1, 0
    for number in range(1, count + 1):
        if chance.random() < 0.3:
            topic, qos = chance.choice((TOPIC, TOPIC, OTHER, LOCAL)), chance.choice((0, 1, 1))
            flags = chance.choice((0, 0, DUP, RETAIN) if qos else (0, RETAIN))
        payload = b"%d" % chance.randrange(1000) * chance.choice((1, 1, 200))
        sent.append((topic, qos, flags, number if qos else 0, payload))
    return sent


def encoded(message: Sent, version: int) -> bytes:
    topic, qos, flags, packet_id, payload = message
    data = publish(topic, payload, qos, packet_id, version=version, dup=flags == DUP)
    return bytes([data[0] | (flags == RETAIN)]) + data[1:]


@pytest.mark.parametrize("version", [4, 5])
def test_messages_of_every_kind_in_one_go_keep_their_order_and_what_they_are(gateway: Gateway, version: int) -> None:
    chance = random.Random(version)
    sent: list[Sent] = []
    with Wire(gateway.port, "dev-1", version=version) as wire:
        wire.connected()
        for _ in range(10):
            burst = some(chance, 60)
            wire.send(b"".join(encoded(message, version) for message in burst))
            asked = [packet_id for _, _, _, packet_id, _ in burst if packet_id]
            answered = wire.packet_ids(PUBACK, len(asked))
            assert sorted(answered) == asked
            # (what goes to local subscribers alone waits for no disk, what is retained waits for two)
            queued = [each[3] for each in burst if each[3] and each[0] != LOCAL and each[2] != RETAIN]
            assert [packet_id for packet_id in answered if packet_id in queued] == queued
            sent += burst
    wait_until(lambda: len(forwarded(gateway)) == sum(each[0] != LOCAL for each in sent), "the last of QoS 0")
    assert forwarded(gateway) == [each for each in sent if each[0] != LOCAL]


def test_runs_end_where_properties_or_another_lane_begin(gateway: Gateway) -> None:
    kind: props.Properties = {0x03: "text/plain"}
    with Wire(gateway.port, "dev-1", version=5) as wire:
        wire.connected()
        plain = [publish(TOPIC, b"%d" % number, 1, number, version=5) for number in range(1, 5)]
        told = [publish(TOPIC, b"told", 1, 5, version=5, properties=kind), publish(ALARM, b"alarm", 1, 6, version=5)]
        wire.send(b"".join((*plain[:2], *told, *plain[2:])))
        assert sorted(wire.packet_ids(PUBACK, 6)) == [1, 2, 3, 4, 5, 6]
    records = [record for record in gateway.records() if record.kind == MESSAGE]
    assert [record.payload for record in records] == [b"1", b"2", b"told", b"3", b"4"]
    assert [decode_headers(record.headers) for record in records if record.headers] == [
        (("content-type", b"text/plain"),)
    ]
    assert [payload for _, payload in gateway.messages("alarm")] == [b"alarm"]


def test_a_run_is_never_more_than_a_commit_may_hold(new_gateway: NewGateway) -> None:
    """Of messages that are larger than that each comes alone, as ever."""
    gateway = new_gateway('[queue.commit]\nmax_bytes = "2 KiB"\n').start()
    payloads = [bytes([number]) * size for number, size in enumerate([10] * 100 + [3000, 10, 3000, 3000, 10])]
    with Wire(gateway.port, "dev-1") as wire:
        wire.connected()
        wire.send(b"".join(publish(TOPIC, payload, 1, number + 1) for number, payload in enumerate(payloads)))
        assert wire.packet_ids(PUBACK, len(payloads)) == list(range(1, len(payloads) + 1))
    assert [payload for _, payload in gateway.messages()] == payloads


def test_a_mistake_behind_a_run_costs_the_connection_and_not_the_run(gateway: Gateway) -> None:
    with Wire(gateway.port, "dev-1") as wire:
        wire.connected()
        wire.send(b"".join(publish(TOPIC, b"%d" % number, 1, number) for number in range(1, 6)) + packet(0xF0, b""))
        assert wire.sock.recv(1) == b""
    wait_until(lambda: len(gateway.messages()) == 5, "the run")
    assert [payload for _, payload in gateway.messages()] == [b"1", b"2", b"3", b"4", b"5"]
