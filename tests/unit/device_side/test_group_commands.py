"""Commands to groups: who gets them, what is said of each device and of the whole, through kills and full lanes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.device_side.command import FINAL
from tests.unit.device_side.command_world import World

NORTH = "site=north"


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[list[World]]:
    """The last one is ended; the test ends those before."""
    made = [make(tmp_path)]
    yield made
    made[-1].end(crash=True)


def make(directory: Path, count: int = 5, **settings: object) -> World:
    """Devices d0, d1, …; those of even number are in the north."""
    world = World(directory, **{"group_slice": 2, **settings})
    world.known.clear()
    world.known.update(f"d{number}" for number in range(count))
    world.labels = {f"d{number}": {"site": "north"} for number in range(0, count, 2)}
    return world


def again(worlds: list[World], directory: Path, *, crash: bool) -> World:
    """The next start."""
    worlds[-1].end(crash=crash)
    worlds.append(make(directory))
    settle(worlds[-1])
    return worlds[-1]


def settle(world: World) -> None:
    """Until nothing more follows from what there is."""
    before = -1
    while before < len(world.said()):
        before = len(world.said())
        for _ in range(3):
            world.settle()
            world.groups.look()
        world.settle()


def answer(world: World, device: str, name: str, status: str = "succeeded") -> None:
    body = f'{{"status": "{status}"}}'.encode()
    assert world.commands.result(device, name, body, lambda: None, packet_id=0, effect=None)


def finals(world: World) -> dict[tuple[str, str], dict[str, object]]:
    """By key and id; each once."""
    found: dict[tuple[str, str], dict[str, object]] = {}
    for key, value in world.said():
        if value["outcome"] in FINAL:
            where = (key, str(value["id"]))
            assert where not in found
            found[where] = value
    return found


def test_each_device_has_its_own_outcome_and_the_group_has_one_in_the_end(worlds: list[World]) -> None:
    world = worlds[0]
    world.take_group(NORTH, {"id": "c1", "name": "reboot"})
    settle(world)
    assert world.taken == ["c1"]
    queued = [(key, value.get("group"), value.get("devices")) for key, value in world.said()]
    assert sorted(queued, key=str) == sorted(
        [*((f"d{n}", NORTH, None) for n in (0, 2, 4)), (f"group/{NORTH}", None, 3)], key=str
    )
    answer(world, "d0", "c1")
    answer(world, "d4", "c1", "failed")
    world.later(1)
    assert (f"group/{NORTH}", "c1") not in finals(world)
    answer(world, "d2", "c1")
    world.later(1)
    settle(world)
    summary = finals(world)[f"group/{NORTH}", "c1"]
    assert (summary["outcome"], summary["devices"], summary["counts"]) == ("failed", 3, {"succeeded": 2, "failed": 1})
    assert len(finals(world)) == 4
    assert len(world.groups) == len(world.commands) == 0
    world.take_group(NORTH, {"id": "c1", "name": "reboot"})
    settle(world)
    assert len(finals(world)) == 4, "one that comes again changes nothing"


@pytest.mark.parametrize("crash", [False, True])
def test_a_kill_while_it_is_handed_out_and_while_it_is_over_neither_loses_nor_doubles(
    worlds: list[World], tmp_path: Path, crash: bool
) -> None:
    world = worlds[0]
    world.take_group("all", {"id": "c1", "name": "reboot", "qos": 2})
    while not len(world.commands):
        world.settle_once()
    assert len(world.commands) < 5, "in the middle"
    world = again(worlds, tmp_path, crash=crash)
    assert len(world.commands) == 5
    for number, device in enumerate(sorted(world.known)):
        answer(world, device, "c1")
        if number % 2:
            world = again(worlds, tmp_path, crash=crash)
    settle(world)
    world = again(worlds, tmp_path, crash=crash)
    world.later(1)
    settle(world)
    assert finals(world)["group/all", "c1"]["counts"] == {"succeeded": 5}
    assert len(finals(world)) == 6
    world = again(worlds, tmp_path, crash=crash)
    world.take_group("all", {"id": "c1", "name": "reboot"})
    settle(world)
    assert len(finals(world)) == 6


def test_who_comes_later_has_nothing_to_do_with_it_and_who_loses_the_label_keeps_it(worlds: list[World]) -> None:
    world = worlds[0]
    world.take_group(NORTH, {"id": "c1", "name": "reboot", "deadline": world.deadline(60)})
    settle(world)
    world.known.add("d9")
    world.labels = {"d9": {"site": "north"}}
    world.later(30)
    settle(world)
    assert sorted(device for device, _ in world.said() if "/" not in device) == ["d0", "d2", "d4"]
    world.later(31)
    world.later(1)
    settle(world)
    summary = finals(world)[f"group/{NORTH}", "c1"]
    assert (summary["outcome"], summary["counts"]) == ("expired", {"expired": 3})


def test_it_is_taken_back_from_all_that_are_not_done_with_it(worlds: list[World], tmp_path: Path) -> None:
    world = worlds[0]
    world.take_group("all", {"id": "c1", "name": "reboot"})
    settle(world)
    answer(world, "d0", "c1")
    world.take({"id": "c1", "cancel": True}, "d1")
    world.take_group("all", {"id": "c1", "cancel": True})
    world.settle_once()
    world = again(worlds, tmp_path, crash=True)
    settle(world)
    summary = finals(world)["group/all", "c1"]
    assert (summary["outcome"], summary["counts"]) == ("cancelled", {"succeeded": 1, "cancelled": 4})
    world.take_group("all", {"id": "c2", "cancel": True})
    settle(world)
    assert len(finals(world)) == 6


@pytest.mark.parametrize(
    ("group", "order", "why"),
    [
        ("everyone", {"id": "c1", "name": "x"}, "neither 'all' nor KEY=VALUE"),
        ("a b=c", {"id": "c1", "name": "x"}, "the label's key"),
        ("all", {"id": "c1"}, "it has no name"),
        ("all", {"id": "c/1", "name": "x"}, "its id"),
        ("all", b"nonsense", "no command"),
        ("all", {"id": "c1", "name": "x", "payload": "x" * 9000}, "more than 4096"),
        ("all", {"id": "c1", "name": "x", "deadline": "soon"}, "deadline"),
        ("site=nowhere", {"id": "c1", "name": "x"}, "no device of this gateway is in the group"),
    ],
)
def test_what_cannot_be_is_refused_once_for_the_whole(worlds: list[World], group: str, order: object, why: str) -> None:
    world = worlds[0]
    world.take_group(group, order)
    settle(world)
    (only,) = finals(world).items()
    (key, _), value = only
    assert (key, value["outcome"]) == (f"group/{group}", "refused")
    assert why in str(value["detail"])
    assert len(world.taken) == 1


def test_too_many_at_once_are_refused(tmp_path: Path) -> None:
    world = make(tmp_path, group_commands_open=2)
    for name in ("c1", "c2", "c3"):
        world.take_group("all", {"id": name, "name": "x"})
    settle(world)
    assert [(key, value["outcome"]) for key, value in finals(world).items()] == [(("group/all", "c3"), "refused")]
    world.end()


def test_a_command_that_a_device_has_already_under_that_id_is_its_own(worlds: list[World]) -> None:
    world = worlds[0]
    world.take({"id": "c1", "name": "mine"}, "d0")
    world.take_group(NORTH, {"id": "c1", "name": "ours"})
    settle(world)
    for device in ("d0", "d2", "d4"):
        answer(world, device, "c1")
    world.later(1)
    settle(world)
    assert finals(world)[f"group/{NORTH}", "c1"]["counts"] == {"succeeded": 2}
    assert "group" not in finals(world)["d0", "c1"]


def test_in_a_full_lane_it_goes_on_when_there_is_room(tmp_path: Path) -> None:
    world = make(tmp_path, count=60, group_slice=50)
    world.fill()  # and what is forwarded goes: nothing is read from this lane
    world.take_group("all", {"id": "c1", "name": "x"})
    world.settle()
    world.later(1)
    before = len(world.commands)
    assert before < 60
    world.make_room()
    while len(world.commands) < 60:
        world.later(1)
        world.settle()
        world.make_room()
    for device in sorted(world.known):
        answer(world, device, "c1")
        world.settle()
        world.make_room()
    while len(world.groups):
        world.later(1)
        world.settle()
        world.make_room()
    world.end()


def test_refused_devices_count_too(tmp_path: Path) -> None:
    world = make(tmp_path, commands_waiting=1)
    world.take({"id": "first", "name": "x"}, "d0")
    world.take_group(NORTH, {"id": "c1", "name": "x", "response": False, "deadline": world.deadline(5)})
    settle(world)
    world.later(6)
    world.later(1)
    settle(world)
    assert finals(world)[f"group/{NORTH}", "c1"]["counts"] == {"refused": 1, "expired": 2}
    world.end()


def test_a_large_group_is_many_small_turns_and_rows(tmp_path: Path) -> None:
    world = make(tmp_path, count=300, group_slice=20)
    run, steps = world.groups._run, [0]

    def counted() -> None:
        before = len(world.commands)
        run()
        steps.append(len(world.commands) - before)

    world.groups._run = counted  # type: ignore[method-assign]
    world.take_group("all", {"id": "c1", "name": "x", "payload": "y" * 500})
    settle(world)
    assert (sum(steps), max(steps)) == (300, 20)
    assert max(len(record.payload) for record in world._records(1)) < 1000
    world.end()
