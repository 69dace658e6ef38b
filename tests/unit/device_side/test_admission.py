"""Places: how many connections there may be, whose handshake has to give way, and who hears of it."""

from __future__ import annotations

import asyncio

import pytest

from bridge.config import Limits
from bridge.device_side.admission import FULL, STALLED, Admission, Displaced
from bridge.device_side.rates import Rates


async def admission(limits: Limits, connections: list[object]) -> Admission:
    loop = asyncio.get_running_loop()
    return Admission(loop, limits, lambda: len(connections), Rates(limits, loop.time))


async def test_handshakes_count_as_connections() -> None:
    connections: list[object] = []
    gate = await admission(Limits(connections=2), connections)
    gate.handshakes = 1
    assert gate.refusal("192.0.2.1") is None
    connections.append("one")
    assert gate.refusal("192.0.2.1") == gate.full() == (FULL, "limits.connections of 2 is reached")


async def test_only_who_stands_still_for_long_gives_way_the_longest_first() -> None:
    gate = await admission(Limits(handshakes=2, handshake_stall=0.01), [])
    loop = asyncio.get_running_loop()
    old, older_and_moving, young = (loop.create_future() for _ in range(3))
    gate.stands_still(older_and_moving, "192.0.2.1")
    gate.stands_still(old, "192.0.2.1")
    gate.moves_on(older_and_moving)
    await asyncio.sleep(0.02)
    gate.stands_still(young, "192.0.2.1")
    gate._displace(5)
    with pytest.raises(Displaced, match="stood still"):
        await old
    assert not older_and_moving.done()
    assert not young.done()
    assert gate.refused[STALLED] == 1


async def test_many_give_way_a_few_at_a_time() -> None:
    gate = await admission(Limits(handshakes=100, handshake_stall=0.01), [])
    still = [asyncio.get_running_loop().create_future() for _ in range(50)]
    for each in still:
        gate.stands_still(each, "192.0.2.1")
    await asyncio.sleep(0.02)
    gate._displace(1000)
    assert 0 < sum(each.done() for each in still) < len(still), "or their lines in the log would hold everybody up"
    gate.antechamber.waiting = 1000
    async with asyncio.timeout(10):
        await asyncio.wait(still)
    assert all(isinstance(each.exception(), Displaced) for each in still)


async def test_a_slow_peer_does_not_pay_for_a_flood_from_elsewhere() -> None:
    gate = await admission(Limits(handshakes=4, handshake_stall=0.01), [])
    loop = asyncio.get_running_loop()
    slow, flood = loop.create_future(), [loop.create_future() for _ in range(3)]
    for until_ready, where in ((slow, "192.0.2.7"), *((each, "192.0.2.1") for each in flood)):
        gate.handshake_begins(where)
        gate.stands_still(until_ready, where)
    await asyncio.sleep(0.02)
    gate._displace(3)
    assert [each.done() for each in (slow, *flood)] == [False, True, True, True]
    assert all(isinstance(each.exception(), Displaced) for each in flood)


async def test_what_happens_often_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    gate = await admission(Limits(), [])
    for number in range(50):
        gate.turned_away("half-open", f"192.0.2.1:{number}", "too many")
    assert gate.refused["half-open"] == 50
    assert len(caplog.records) == 1
