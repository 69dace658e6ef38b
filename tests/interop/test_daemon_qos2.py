"""QoS 2 when things end in the middle: never doubled, and a new message is never taken for an old one."""

from __future__ import annotations

import time

import pytest

from bridge.log.record import RELEASE, RESET
from tests.interop.conftest import NewGateway
from tests.interop.gateway import Gateway, wait_until
from tests.interop.wire import PUBACK, PUBCOMP, PUBREC, Wire, publish, pubrel

TOPIC, ALARM, REPORTED = "devices/dev-1/telemetry/x", "devices/dev-1/alarm/x", "devices/dev-1/state/reported"


def payloads(gateway: Gateway, lane: str = "normal") -> list[bytes]:
    return [payload for _, payload in gateway.messages(lane)]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("released", [False, True], ids=["publish again", "release again"])
def test_a_kill_between_publish_and_release_doubles_nothing(gateway: Gateway, version: int, released: bool) -> None:
    session = {"version": version, "clean": False, "expiry_s": 3600}
    with Wire(gateway.port, "dev-1", **session) as wire:
        assert not wire.connected()
        wire.publish(TOPIC, b"once", 2, 7)
        assert wire.packet_ids(PUBREC, 1) == [7]
        gateway.kill()
    gateway.start()
    with Wire(gateway.port, "dev-1", **session) as wire:
        assert wire.connected()
        if not released:
            wire.publish(TOPIC, b"once", 2, 7, dup=True)
            assert wire.packet_ids(PUBREC, 1) == [7]
        wire.send(pubrel(7))
        assert wire.packet_ids(PUBCOMP, 1) == [7]
        wire.publish(TOPIC, b"another", 2, 7)
        assert wire.packet_ids(PUBREC, 1) == [7]
    assert payloads(gateway) == [b"once", b"another"]


def test_a_kill_after_the_release_leaves_the_packet_id_free(gateway: Gateway) -> None:
    with Wire(gateway.port, "dev-1", clean=False) as wire:
        wire.connected()
        wire.publish(TOPIC, b"once", 2, 7)
        wire.packet_ids(PUBREC, 1)
        wire.send(pubrel(7))
        assert wire.packet_ids(PUBCOMP, 1) == [7]
        gateway.kill()
    gateway.start()
    with Wire(gateway.port, "dev-1", clean=False) as wire:
        assert wire.connected()
        wire.send(pubrel(7))  # as by a client that PUBCOMP did not reach
        assert wire.packet_ids(PUBCOMP, 1) == [7]
        wire.publish(TOPIC, b"another", 2, 7)
        assert wire.packet_ids(PUBREC, 1) == [7]
    assert payloads(gateway) == [b"once", b"another"]


@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed"])
def test_after_a_clean_start_the_same_packet_id_is_a_new_message(gateway: Gateway, killed: bool) -> None:
    with Wire(gateway.port, "dev-1", clean=False) as wire:
        wire.connected()
        for number in (7, 8):
            wire.publish(TOPIC if number == 7 else ALARM, b"old", 2, number)
        wire.packet_ids(PUBREC, 2)
    if killed:
        gateway.kill()
        gateway.start()
    with Wire(gateway.port, "dev-1", clean=True) as wire:
        assert not wire.connected()
        wire.publish(TOPIC, b"new", 2, 7)
        wire.publish(ALARM, b"new", 2, 8)
        assert sorted(wire.packet_ids(PUBREC, 2)) == [7, 8]
    assert payloads(gateway) == payloads(gateway, "alarm") == [b"old", b"new"]
    assert [record.kind for record in gateway.records()].count(RESET) == 1


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed"])
@pytest.mark.parametrize("lane", [TOPIC, ALARM])
def test_hand_shakes_end_with_a_session_that_was_not_to_stay(
    gateway: Gateway, version: int, killed: bool, lane: str
) -> None:
    with Wire(gateway.port, "dev-1", version=version) as wire:
        wire.connected()
        wire.publish(TOPIC, b"old", 2, 7)
        wire.packet_ids(PUBREC, 1)
        if killed:
            gateway.kill()
    if killed:
        gateway.start()
    with Wire(gateway.port, "dev-1", version=version, clean=False, expiry_s=60) as wire:
        assert not wire.connected(), "no session was to be kept"
        wire.publish(lane, b"new", 2, 7)
        assert wire.packet_ids(PUBREC, 1) == [7]
        gateway.kill()
    gateway.start()
    with Wire(gateway.port, "dev-1", version=version, clean=False, expiry_s=60) as wire:
        assert wire.connected()
        wire.publish(lane, b"new", 2, 7, dup=True)
        assert wire.packet_ids(PUBREC, 1) == [7]
        wire.send(pubrel(7))
        assert wire.packet_ids(PUBCOMP, 1) == [7]
    assert payloads(gateway) + payloads(gateway, "alarm") == [b"old", b"new"]


def test_a_session_that_was_made_to_end_with_its_connection_does_not_come_back_with_a_kill(gateway: Gateway) -> None:
    for expiry_s in (60, 0):
        with Wire(gateway.port, "dev-1", version=5, clean=False, expiry_s=expiry_s) as wire:
            assert wire.connected() == (expiry_s == 0)
            wire.publish(TOPIC, b"old", 2, 7 + expiry_s)
            wire.packet_ids(PUBREC, 1)
            if not expiry_s:
                gateway.kill()
    gateway.start()
    with Wire(gateway.port, "dev-1", version=5, clean=False, expiry_s=60) as wire:
        assert not wire.connected()
        wire.publish(TOPIC, b"new", 2, 7)
        assert wire.packet_ids(PUBREC, 1) == [7]
    assert payloads(gateway) == [b"old", b"old", b"new"]


@pytest.mark.parametrize("topic", [TOPIC, REPORTED])
def test_a_device_that_never_releases_is_stopped_and_the_others_are_not(gateway: Gateway, topic: str) -> None:
    """MQTT 3.1.1 knows no receive maximum; what stays open is carried from segment to segment."""
    with Wire(gateway.port, "dev-1", clean=False) as wire:
        wire.connected()
        for number in range(1, 1025):
            wire.publish(topic, b"{}", 2, number)
        assert wire.packet_ids(PUBREC, 1024) == list(range(1, 1025))
        wire.publish(topic, b"{}", 2, 1025)
        with pytest.raises(ConnectionError):
            wire.receive()
    assert f"topic={topic}: 1024 QoS 2 messages wait for its PUBREL already" in gateway.log()
    with Wire(gateway.port, "dev-1", clean=False) as wire:
        assert wire.connected()
        wire.send(pubrel(1))
        assert wire.packet_ids(PUBCOMP, 1) == [1]
        wire.publish(topic, b"{}", 2, 1025, dup=True)
        assert wire.packet_ids(PUBREC, 1) == [1025]


def test_beyond_the_room_for_all_exchanges_a_new_device_waits_until_another_releases(new_gateway: NewGateway) -> None:
    gateway = new_gateway('[limits]\nexchanges_bytes = "80 B"\n').start()
    session = {"version": 5, "clean": False, "expiry_s": 3600}
    with Wire(gateway.port, "dev-1", **session) as one:
        one.connected()
        taken = []
        for number in range(1, 40):
            one.publish(TOPIC, b"%d" % number, 2, number)
            kind, answer = one.receive()
            assert kind == PUBREC
            if len(answer) > 2:
                assert answer[2] == 0x97, "it has some to release first"
                break
            taken.append(number)
        assert 10 < len(taken) < 39
    gateway.kill()
    gateway.start()
    with Wire(gateway.port, "dev-1", **session) as one, Wire(gateway.port, "dev-2", **session) as two:
        one.connected()
        two.connected()
        two.publish("devices/dev-2/telemetry/x", b"waits", 2, 1)
        wait_until(lambda: "waiting: new QoS 2 exchanges" in gateway.log(), "it is said")
        assert b"waits" not in payloads(gateway)
        for number in taken:
            one.send(pubrel(number))
        assert sorted(one.packet_ids(PUBCOMP, len(taken))) == taken
        assert two.packet_ids(PUBREC, 1) == [1]
    assert payloads(gateway)[-1] == b"waits"


def test_many_open_exchanges_over_many_segments_and_kills(new_gateway: NewGateway) -> None:
    small = '[mqtt]\nmax_packet_size = "64 KiB"\nreceive_maximum = 1000\n[queue]\nsegment_bytes = "320 KiB"\n'
    small += 'free_space_floor = "1 MiB"\n[lanes.state]\nsegment_bytes = "1 MiB"\n'
    gateway = new_gateway(small).start()
    everything = range(1, 121)
    for life in range(3):
        with Wire(gateway.port, "dev-1", clean=False) as wire:
            assert wire.connected() == (life > 0)
            for number in everything:
                if number % 3 >= life:  # what is behind us was released in an earlier life
                    wire.publish(TOPIC, b"%04d" % number + bytes(16 << 10), 2, number, dup=life > 0)
            wire.packet_ids(PUBREC, sum(1 for number in everything if number % 3 >= life))
            for number in everything:
                if number % 3 == life:
                    wire.send(pubrel(number))
            wire.packet_ids(PUBCOMP, sum(1 for number in everything if number % 3 == life))
            gateway.kill()
        gateway.start()
    wait_until(lambda: len(gateway.forwarded()) >= len(everything), "all of it forwarded")
    assert [int(payload[:4]) for payload in gateway.forwarded()] == list(everything)
    assert gateway.stop() == 0


def test_a_duplicate_on_the_next_connection_is_answered_when_the_first_is_durable(new_gateway: NewGateway) -> None:
    """The disk takes its time; meanwhile the device has come back."""
    gateway = new_gateway('[queue]\ncommit = { max_delay = "800 ms" }\nfree_space_floor = "1 MiB"\n').start()
    with Wire(gateway.port, "dev-1", clean=False) as first:
        first.connected()
        first.publish(TOPIC, b"once", 2, 7)
        time.sleep(0.1)
        with Wire(gateway.port, "dev-1", clean=False) as second:
            assert second.connected()
            second.publish(TOPIC, b"once", 2, 7, dup=True)
            assert second.packet_ids(PUBREC, 1, 5.0) == [7]
    assert payloads(gateway) == [b"once"]
    assert gateway.stop() == 0


def test_reported_state_at_qos_2_is_applied_once(gateway: Gateway) -> None:
    with Wire(gateway.port, "dev-1", clean=False) as wire:
        wire.connected()
        wire.publish(REPORTED, b'{"a":1}', 2, 7)
        assert wire.packet_ids(PUBREC, 1) == [7]
        gateway.kill()
    gateway.start()
    with Wire(gateway.port, "dev-1", clean=False) as wire:
        wire.connected()
        wire.publish(REPORTED, b'{"a":1}', 2, 7, dup=True)
        assert wire.packet_ids(PUBREC, 1) == [7]
        wire.send(pubrel(7))
        assert wire.packet_ids(PUBCOMP, 1) == [7]
        wire.publish(REPORTED, b'{"b":2}', 1, 8)
        assert wire.packet_ids(PUBACK, 1) == [8]
    newest = gateway.documents("dev-1")[-1]
    assert newest["reported"]["version"] == 2
    assert newest["reported"]["state"] == {"a": 1, "b": 2}
    assert [record.kind for record in gateway.records("state")].count(RELEASE) == 1


@pytest.mark.parametrize(("qos", "answer"), [(1, PUBACK), (2, PUBREC)])
@pytest.mark.mqtt("MQTT-4.6.0-2", "MQTT-4.6.0-3")
def test_answers_from_the_disk_come_in_the_order_of_what_they_answer(broker: Gateway, qos: int, answer: int) -> None:
    device, wanted = f"in-order-{qos}", [5, 2, 7, 1, 6]
    with Wire(broker.port, device) as wire:
        wire.connected()
        wire.send(b"".join(publish(f"devices/{device}/telemetry", b"x", qos, each) for each in wanted))
        assert wire.packet_ids(answer, len(wanted)) == wanted


@pytest.mark.parametrize(("qos", "answer"), [(1, PUBACK), (2, PUBREC)])
@pytest.mark.mqtt("MQTT-4.6.0-2", "MQTT-4.6.0-3")
def test_what_need_not_wait_for_the_disk_is_answered_in_its_turn(broker: Gateway, qos: int, answer: int) -> None:
    """Kept in a lane, retained and in a lane, reported in another lane, nowhere: each is done in its own time."""
    device = f"in-turn-{qos}"
    base, wanted = f"devices/{device}", list(range(1, 21))
    with Wire(broker.port, device) as wire:
        wire.connected()
        for _ in range(5):
            burst = b""
            for packet_id in wanted:
                ending, retain = [("telemetry", True), ("telemetry", False), ("state/reported", False), ("x", False)][
                    packet_id % 4
                ]
                burst += publish(f"{base}/{ending}", b"{}", qos, packet_id, retain=retain)
            wire.send(burst)
            assert wire.packet_ids(answer, len(wanted)) == wanted
            if qos == 2:
                wire.send(b"".join(pubrel(each) for each in wanted))
                assert sorted(wire.packet_ids(PUBCOMP, len(wanted))) == wanted
