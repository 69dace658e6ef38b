"""Commands for a device with several sessions: one of them has each, and there is one outcome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.mqtt import packets
from tests.unit.device_side.command_world import World
from tests.unit.device_side.test_commands import KEPT, topics


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.end()


def test_the_first_that_subscribed_has_it_and_there_is_one_outcome(world: World) -> None:
    app, boot = world.device(client_id="app"), world.device(client_id="boot")
    for number in range(3):
        world.order(f"c{number}", response=False)
    world.turn()
    came = app.messages()
    assert (topics(came), boot.messages()) == (["c0", "c1", "c2"], [])
    app.send(*(packets.Puback(message.packet_id) for message in came))
    world.settle()
    assert world.finals() == ["c0", "c1", "c2"]
    assert boot.messages() == []


def test_who_has_not_subscribed_is_passed_over(world: World) -> None:
    silent = world.local.connect("app", device="dev-1")
    boot = world.device(client_id="boot")
    world.order("c1", response=False)
    world.turn()
    assert (silent.messages(), topics(boot.messages())) == ([], ["c1"])


def test_another_session_answers_for_the_device(world: World) -> None:
    app = world.device(client_id="app")
    world.device(client_id="boot")
    world.order("c1")
    world.turn()
    app.send(packets.Puback(app.messages()[0].packet_id))
    assert world.answer("c1", {"status": "succeeded"})
    world.settle()
    assert world.finals() == ["c1"]


def test_what_a_session_that_ended_had_unacknowledged_goes_to_the_other(world: World) -> None:
    app, boot = world.device(client_id="app"), world.device(client_id="boot")
    world.order("c1", response=False)
    world.turn()
    assert topics(app.messages()) == ["c1"]
    app.drop()
    world.later(1)
    came = boot.messages()
    assert topics(came) == ["c1"]
    boot.send(packets.Puback(came[0].packet_id))
    world.settle()
    assert world.finals() == ["c1"]


@pytest.mark.parametrize("crash", [False, True])
def test_what_a_session_that_stays_has_waits_in_it(tmp_path: Path, crash: bool) -> None:
    first = World(tmp_path)
    app = first.device(client_id="app", **KEPT)
    first.order("c1", response=False)
    first.turn()
    assert topics(app.messages()) == ["c1"]
    first.settle()
    first.end(crash=crash)
    world = World(tmp_path, first.clock)
    boot = world.device(client_id="boot")
    assert boot.messages() == []
    app = world.device(client_id="app", **KEPT)
    came = app.messages()
    assert topics(came) == ["c1"]
    app.send(packets.Puback(came[0].packet_id))
    world.settle()
    assert (world.finals(), boot.messages()) == (["c1"], [])
    world.end()
