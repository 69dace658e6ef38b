"""Commands through a real lane, store and broker: sent, answered, late, taken back, over restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from bridge.log.errors import LogFull
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from tests.unit.device_side.command_world import DEVICE, START_NS, World

MakeWorld = Callable[..., World]
KEPT = {"expiry_s": 3600, "clean": False}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeWorld]:
    """Worlds in one directory, one after the other; the clock goes on."""
    made: list[World] = []

    def start(**settings: object) -> World:
        clock = made[-1].clock if made else None
        made.append(World(tmp_path, clock, **settings))
        return made[-1]

    yield start
    made[-1].end()


def topics(messages: list[Message]) -> list[str]:
    return [message.topic.rpartition("/")[2] for message in messages]


def test_the_way_of_a_command_that_is_answered(make: MakeWorld) -> None:
    world = make()
    device = world.device()
    deadline = world.deadline(60)
    world.take({"id": "c1", "name": "set", "payload": {"a": [1]}, "deadline": deadline, "more": 1})
    world.turn()
    (message,) = device.messages()
    assert message.topic == f"devices/{DEVICE}/commands/c1"
    body = {"id": "c1", "name": "set", "payload": {"a": [1]}, "deadline": deadline}
    assert msgspec.json.decode(message.payload) == body
    assert message.properties is not None
    assert message.properties[Property.RESPONSE_TOPIC] == f"{message.topic}/result"
    assert message.properties[Property.CORRELATION_DATA] == b"c1"
    assert message.properties[Property.MESSAGE_EXPIRY_INTERVAL] == 60
    world.settle()
    assert world.taken == ["c1"]
    assert world.outcomes() == [("c1", "queued")]
    device.send(packets.Puback(message.packet_id))
    assert world.answer("c1", {"status": "succeeded", "payload": {"was": 3}})
    world.settle()
    assert world.outcomes() == [("c1", "queued"), ("c1", "delivered"), ("c1", "succeeded")]
    assert world.values()[-1]["payload"] == {"was": 3}
    assert world.values()[-1]["record"] == "0:7"
    assert not world.answer("c1", {"status": "failed"})
    assert len(world.commands) == 0


@pytest.mark.parametrize("restart", [False, True])
def test_one_without_a_payload_is_json_too(make: MakeWorld, restart: bool) -> None:
    world = make()
    world.order("c1")
    if restart:
        world.end()
        world = make()
    (message,) = world.device().messages()
    assert msgspec.json.decode(message.payload) == {"id": "c1", "name": "reboot"}


@pytest.mark.parametrize(
    ("answer", "word", "payload"),
    [
        ({"status": "failed", "payload": "E7"}, "failed", "E7"),
        ({"status": "succeeded"}, "succeeded", None),
        ({"status": "done"}, "failed", None),
        (b"nonsense", "failed", None),
        (b"[" * 5000, "failed", None),
        (b"\xff", "failed", None),
    ],
)
def test_what_a_device_answers(make: MakeWorld, answer: object, word: str, payload: object) -> None:
    world = make()
    world.order("c1")
    assert world.answer("c1", answer)
    world.settle()
    assert world.outcomes()[-1] == ("c1", word)
    assert world.values()[-1]["payload"] == payload


def test_one_without_an_answer_has_succeeded_when_the_device_has_it(make: MakeWorld) -> None:
    world = make()
    for version, qos in ((4, 2), (5, 1), (5, 0)):
        name = f"c{version}-{qos}"
        world.order(name, response=False, qos=qos)
        device = world.device(2, version)
        (message,) = device.messages()
        assert message.qos == qos
        assert not message.properties or Property.RESPONSE_TOPIC not in message.properties
        if qos == 1:
            device.send(packets.Puback(message.packet_id))
        if qos == 2:
            device.send(packets.Pubrec(message.packet_id))
        device.drop()
    world.settle()
    assert world.finals() == ["c4-2", "c5-1", "c5-0"]


def test_it_waits_for_a_device_that_sleeps(make: MakeWorld) -> None:
    world = make()
    device = world.device()
    device.drop()
    for number in range(3):
        world.order(f"c{number}")
    world.later(5)
    assert topics(world.device().messages()) == ["c0", "c1", "c2"]


def test_a_session_that_ends_gives_back_what_was_not_acknowledged(make: MakeWorld) -> None:
    world = make()
    device = world.device()
    world.order("c1")
    world.order("c2")
    world.turn()
    first, _ = device.messages()
    device.send(packets.Puback(first.packet_id))
    device.drop()
    assert topics(world.device().messages()) == ["c2"]


@pytest.mark.parametrize("when", ["waiting", "over"])
@pytest.mark.parametrize("restart", [False, True])
def test_one_that_comes_again_changes_nothing(make: MakeWorld, when: str, restart: bool) -> None:
    world = make()
    world.order("c1")
    if when == "over":
        world.answer("c1", {"status": "succeeded"})
    world.settle()
    before = world.outcomes()
    if restart:
        world.end()
        world = make()
    world.order("c1", payload="else")
    world.take({"id": "c1", "cancel": True} if when == "over" else {"id": "c1"})
    world.settle()
    assert world.outcomes() == before
    assert len(world.commands) == (when == "waiting")


def test_how_many_are_remembered_is_bounded(make: MakeWorld) -> None:
    world = make(commands_remembered=2)
    for number in range(3):
        world.order(f"c{number}")
        world.answer(f"c{number}", {"status": "succeeded"})
        world.settle()
    world.end()
    world = make(commands_remembered=2)
    world.order("c2")
    world.order("c1")
    assert len(world.commands) == 0
    world.order("c0")
    assert len(world.commands) == 1


def test_it_expires_in_every_stage_and_is_not_delivered_after(make: MakeWorld) -> None:
    world = make()
    device = world.device()
    world.order("had", deadline=world.deadline(10))
    world.turn()
    device.send(packets.Puback(device.messages()[0].packet_id))
    device.drop()
    world.order("away", deadline=world.deadline(10))
    world.order("stays", deadline=world.deadline(20))
    world.order("late", deadline=world.deadline(0))
    world.later(10)
    assert topics(world.device().messages()) == ["stays"]
    world.settle()
    assert world.finals() == ["late", "had", "away"]
    assert [value["detail"] for value in world.values() if value["outcome"] == "expired"] == [
        "its deadline was over when it came",
        "delivered, and not answered in time",
        "not delivered in time",
    ]


def test_one_without_a_deadline_has_the_gateway_s(make: MakeWorld) -> None:
    world = make(command_deadline=100.0)
    world.order("c1")
    world.settle()
    world.later(60)
    world.end()
    world = make(command_deadline=100.0)
    world.later(39)
    world.settle()
    assert world.finals() == []
    world.later(1)
    world.settle()
    assert world.finals() == ["c1"]


@pytest.mark.parametrize("trust", [False, True])
def test_a_clock_that_is_not_set_judges_no_deadline(make: MakeWorld, trust: bool) -> None:
    settings = {"unsynchronised_clock": "trust"} if trust else {}
    world = make(**settings)
    world.clock.right = False
    world.order("dated", deadline=world.deadline(10))
    world.order("past", deadline=world.deadline(-10))
    world.order("free")
    device = world.device()
    assert topics(device.messages()) == (["dated", "free"] if trust else ["free"])
    world.later(11)
    world.settle()
    assert world.finals() == (["past", "dated"] if trust else [])
    world.clock.right, world.clock.now_ns = True, START_NS + 5
    world.later(0)
    world.commands.send(DEVICE)
    world.turn()
    world.settle()
    assert topics(device.messages()) == ([] if trust else ["dated"])
    assert "past" in world.finals()


def test_it_is_taken_back(make: MakeWorld) -> None:
    world = make(commands_under_way=1)
    device = world.device()
    for name in ("sent", "waits"):
        world.order(name)
    world.turn()
    for name in ("sent", "waits", "never-heard-of"):
        world.take({"id": name, "cancel": True})
    world.turn()
    assert topics(device.messages()) == ["sent"]
    world.settle()
    assert world.finals() == ["sent", "waits"]
    details = [value["detail"] for value in world.values() if value["outcome"] == "cancelled"]
    assert details == ["sent, and not acknowledged", "not delivered"]
    assert "never-heard-of" in world.taken or len(world.taken) == 4


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"id": "c1"}, "no name"),
        ({"id": "c1", "name": "x", "qos": 3}, "no command"),
        ({"id": "c1", "name": "x", "deadline": "tomorrow"}, "RFC 3339"),
        ({"id": "c1", "name": "x", "deadline": "2026-01-01T00:00:00"}, "RFC 3339"),
        ({"id": "c1", "name": "x", "deadline": 5}, "no command"),
        ({"id": "c1", "name": "x", "payload": "x" * 2000}, "bytes, more than 1024"),
        ({"id": "a/b", "name": "x"}, "its id"),
        ({"id": "", "name": "x"}, "its id"),
        ({"name": "x"}, "no command"),
        (b"{", "no command"),
        (b"[" * 900, "no command"),
        (b"\xff", "no command"),
    ],
)
def test_what_is_no_command_is_refused_once(make: MakeWorld, value: object, why: str) -> None:
    world = make(command_max_bytes=1024)
    for _ in range(2):
        world.take(value)
        world.settle()
    (outcome,) = world.values()
    named = isinstance(value, dict) and value.get("id") == "c1"
    assert (outcome["id"], outcome["outcome"]) == ("c1" if named else None, "refused")
    assert why in str(outcome["detail"])
    assert len(world.taken) == 2


@pytest.mark.parametrize(("policy", "expected"), [("ignore", []), ("refuse", ["refused"]), ("keep", ["queued"])])
def test_a_device_that_was_never_here(make: MakeWorld, policy: str, expected: list[str]) -> None:
    world = make(unknown_devices=policy)
    world.take({"id": "c1", "name": "x"}, "stranger")
    world.settle()
    assert [word for _, word in world.outcomes()] == expected
    assert world.taken == ["c1"]


def test_a_device_that_may_not_and_one_with_too_many(make: MakeWorld) -> None:
    world = make(commands_waiting=2)
    world.known.add("a/b")
    world.take({"id": "c1", "name": "x"}, "#")
    for number in range(3):
        world.order(f"c{number}")
    world.settle()
    assert world.outcomes() == [("c0", "queued"), ("c1", "queued"), ("c2", "refused")]


def test_serial_ones_have_the_device_for_themselves(make: MakeWorld) -> None:
    world = make()
    device = world.device(0)
    for name, how in (("p1", "parallel"), ("p2", "parallel"), ("s1", "serial"), ("s2", "serial"), ("p3", "parallel")):
        world.order(name, concurrency=how)
    world.turn()
    seen = []
    for done in (["p1", "p2"], ["s1"], ["s2"], ["p3"]):
        seen.append(topics(device.messages()))
        for name in done:
            world.answer(name, {"status": "succeeded"})
        world.turn()
    assert seen == [["p1", "p2"], ["s1"], ["s2"], ["p3"]]


def test_a_device_that_will_not_have_it(make: MakeWorld) -> None:
    world = make()
    device = world.device(properties={Property.MAXIMUM_PACKET_SIZE: 300})
    world.order("large", payload="x" * 300)
    world.order("small", response=False)
    world.turn()
    (message,) = device.messages()
    device.send(packets.Puback(message.packet_id, Reason.QUOTA_EXCEEDED))
    world.settle()
    assert [each for each in world.outcomes() if each[1] != "queued"] == [("large", "refused"), ("small", "failed")]


def test_a_full_lane_only_makes_it_later(make: MakeWorld) -> None:
    world = make()
    device = world.device()
    world.order("c1", deadline=world.deadline(5))
    world.order("c2")
    world.turn()
    first, second = device.messages()
    world.fill()
    device.send(packets.Puback(first.packet_id), packets.Puback(second.packet_id))
    with pytest.raises(LogFull):
        world.order("c3")
    with pytest.raises(LogFull):
        world.answer("c2", {"status": "succeeded"})
    world.later(10)
    world.turn()
    assert len(world.commands) == 2
    world.make_room()
    world.later(0)
    world.settle()
    assert sorted(world.outcomes()[-2:]) == [("c1", "expired"), ("c2", "delivered")]
    assert len(world.commands) == 1


@pytest.mark.parametrize("crash", [False, True])
def test_at_qos_2_a_restart_delivers_nothing_twice_and_nothing_late(make: MakeWorld, crash: bool) -> None:
    world = make()
    device = world.device(2, **KEPT)
    world.order("had", qos=2)
    world.order("open", qos=2, payload={"a": [1]}, deadline=world.deadline(100))
    world.order("late", qos=2, deadline=world.deadline(10))
    world.settle()
    had, opened, late = device.messages()
    device.send(packets.Pubrec(had.packet_id))
    world.settle()
    world.end(crash=crash)
    world = make()
    world.later(10)
    device = world.device(2, **KEPT)
    world.settle()
    came = device.answers()
    assert [packet.dup for packet in came if isinstance(packet, Message)] == [True]
    assert topics([packet for packet in came if isinstance(packet, Message)]) == ["open"]
    released = {packet.packet_id for packet in came if isinstance(packet, packets.Pubrel)}
    assert released == {had.packet_id, late.packet_id}
    device.send(*(packets.Pubcomp(number) for number in released), packets.Pubrec(opened.packet_id))
    world.settle()
    assert [each for each in world.outcomes() if each[1] != "queued"] == [
        ("had", "delivered"), ("late", "expired"), ("open", "delivered"),
    ]  # fmt: skip


def test_a_crash_behind_the_log_has_said_it(make: MakeWorld) -> None:
    world = make()
    world.order("c1")
    world.order("c2")
    world.settle()
    world.answer("c1", {"status": "succeeded"})
    world.end(crash=True)
    world = make()
    world.order("c1")
    world.settle()
    assert world.finals() == ["c1"]
    assert len(world.commands) == 1


def test_what_the_device_has_acknowledged_is_not_sent_again_once_that_has_been_said(make: MakeWorld) -> None:
    world = make()
    device = world.device()
    world.order("c1")
    world.order("c2")
    world.settle()
    first, _ = device.messages()
    device.send(packets.Puback(first.packet_id))
    world.turn()
    world.end(crash=True)  # the log has that it was delivered, the store has not
    world = make()
    assert topics(world.device().messages()) == ["c2"]
    assert world.answer("c1", {"status": "succeeded"})


def test_who_takes_back_what_is_over_is_done_when_the_end_is_durable(make: MakeWorld) -> None:
    world = make()
    world.order("c1")
    world.settle()
    world.answer("c1", {"status": "failed"})
    world.take({"id": "c1", "cancel": True})
    assert world.taken == ["c1"]
    world.settle()
    assert world.taken == ["c1", "c1"]


def test_after_a_boot_without_the_time_what_was_not_sent_waits_for_the_clock(make: MakeWorld) -> None:
    world = make()
    device = world.device(2, properties={Property.RECEIVE_MAXIMUM: 1}, **KEPT)
    world.order("sent", qos=2, deadline=world.deadline(100))
    world.order("queued", qos=2, deadline=world.deadline(100))
    world.settle()
    (first,) = device.messages()
    world.end(crash=True)
    world.clock.right = False
    world = make()
    device = world.device(2, **KEPT)
    world.settle()
    assert [(packet.dup, packet.packet_id) for packet in device.messages()] == [(True, first.packet_id)]
    device.send(packets.Pubrec(first.packet_id), packets.Pubcomp(first.packet_id))
    world.turn()
    world.settle()
    assert device.messages() == []
    world.clock.right = True
    world.later(1)
    world.commands.send(DEVICE)
    world.turn()
    world.settle()
    assert topics(device.messages()) == ["queued"]
