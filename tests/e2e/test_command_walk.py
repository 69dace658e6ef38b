"""Commands while all on their way is killed: one final outcome each, none twice at QoS 2, none after its deadline.

BUSBRIDGE_COMMANDS=10000 makes it as many; BUSBRIDGE_SEED repeats one.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import paho.mqtt.client as paho

from bridge.device_side.clock import rfc3339
from tests.e2e.command_site import Sleeper, make_topics, outcomes, send, take_commands
from tests.support.daemon import Gateway, Service
from tests.support.kafka import Broker

DEVICES = tuple(f"dev-{number:05d}" for number in range(1, 9))
COUNT = int(os.environ.get("BUSBRIDGE_COMMANDS") or 300)
KILLS = max(4, COUNT // 200)
GRACE_S = 5.0
"""What may lie between our last look at the clock and the device's, on a machine that does much else."""
FINAL = {"succeeded", "failed", "expired", "cancelled", "refused"}
Orders = list[tuple[str, dict[str, object]]]
Said = list[tuple[str, dict[str, object]]]


def make_orders(chance: random.Random, numbers: range, earlier: Orders) -> Orders:
    """Those of odd number have a deadline, some of them one that nobody meets; some come twice, some are taken back.

    `earlier`: what was sent before, of which some comes again, as after a rebalance.
    """
    orders: Orders = []
    for number in numbers:
        device, order = chance.choice(DEVICES), {"id": f"c{number}", "name": "work", "payload": number, "qos": 2}
        if number % 2:
            order |= {"qos": 1, "deadline": rfc3339(int((time.time() + chance.choice((0.5, 5, 60))) * 1e9))}
        if number % 13 == 0:
            order["concurrency"] = "serial"
        if number % 17 == 0:
            order["response"] = False
        if number % 50 == 0:
            order["deadline"] = "yesterday"
        orders.append((device, order))
        if number % 7 == 0:
            orders.append((device, order))
        if number % 11 == 0:
            orders.append((device, {"id": f"c{number}", "cancel": True}))
        if number % 23 == 0 and earlier:
            orders.append(chance.choice(earlier))
    return orders


async def kill(service: Service, chance: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.3, 2.5))
        await chance.choice([service.kill_device_side, service.kill_bus_side, service.kill_both])()


async def trouble(broker: Broker) -> None:
    await asyncio.sleep(2)
    await asyncio.to_thread(broker.kill)
    await asyncio.sleep(1)
    await asyncio.to_thread(broker.start)


async def command(address: str, chance: random.Random) -> Orders:
    """Bit by bit, for as long as things die; returns all that was sent."""
    sent: Orders = []
    part = max(1, COUNT // (3 * KILLS))
    for first in range(0, COUNT, part):
        orders = make_orders(chance, range(first, min(COUNT, first + part)), sent)
        await asyncio.to_thread(send, address, orders)
        sent += orders
        await asyncio.sleep(0.4)
    return sent


async def walk(directory: Path, broker: Broker, chance: random.Random) -> tuple[list[Sleeper], Orders, Said]:
    gateway = Gateway(directory, DEVICES, broker.address)
    take_commands(gateway)
    devices = [
        Sleeper(name, gateway, paho.MQTTv5 if number % 2 else paho.MQTTv311) for number, name in enumerate(DEVICES)
    ]
    enough = threading.Event()
    async with Service(gateway) as service:
        lives = [
            threading.Thread(target=each.live, args=(random.Random(chance.random()), enough), daemon=True)
            for each in devices
        ]
        for life in lives:
            life.start()
        for device in devices:
            assert await asyncio.to_thread(device.subscribed.wait, 60), service.complaints()
        own = random.Random(chance.random())
        _, _, orders = await asyncio.gather(kill(service, chance), trouble(broker), command(broker.address, own))
        enough.set()
        await finals_of_all(broker.address, orders, service)
        for life, device in zip(lives, devices, strict=True):
            await asyncio.to_thread(life.join)
            await asyncio.to_thread(device.end)
        said = await asyncio.to_thread(outcomes, broker.address)
    return devices, orders, said


async def finals_of_all(address: str, orders: Orders, service: Service) -> None:
    wanted = {(device, order["id"]) for device, order in orders}
    deadline = time.monotonic() + 120
    while True:
        said = await asyncio.to_thread(outcomes, address)
        open_yet = wanted - {(device, outcome["id"]) for device, outcome in said if outcome["outcome"] in FINAL}
        if not open_yet:
            return
        assert time.monotonic() < deadline, f"{len(open_yet)} open: {sorted(open_yet)[:5]}\n{service.complaints()}"
        await asyncio.sleep(1)


def test_commands_survive_what_they_meet(tmp_path: Path) -> None:
    seed = int(os.environ.get("BUSBRIDGE_SEED") or random.randrange(1 << 32))
    print(f"BUSBRIDGE_SEED={seed}")
    broker = Broker(tmp_path / "kafka")
    broker.start()
    try:
        make_topics(broker.address)
        devices, orders, said = asyncio.run(walk(tmp_path, broker, random.Random(seed)))
    finally:
        broker.kill()
    by_id = {order["id"]: order for _, order in orders if "name" in order}
    final = Counter(outcome["id"] for _, outcome in said if outcome["outcome"] in FINAL)
    assert {name: count for name, count in final.items() if count != 1} == {}
    assert final.keys() == by_id.keys()
    words = {outcome["id"]: outcome["outcome"] for _, outcome in said if outcome["outcome"] in FINAL}
    print(Counter(words.values()))
    assert Counter(words.values()).keys() >= {"succeeded", "expired", "cancelled", "refused"}
    got = [(name, when) for device in devices for name, when in device.got]
    times = Counter(name for name, _ in got)
    assert [name for name in times if by_id[name]["qos"] == 2 and times[name] > 1] == []
    assert [name for name, word in words.items() if word == "succeeded" and not times[name]] == []
    assert [name for name, word in words.items() if word == "refused" and times[name]] == []
    for name, when in got:
        if "deadline" in by_id[name]:
            late_s = when - deadline_s(str(by_id[name]["deadline"]))
            assert late_s < GRACE_S, f"{name} came {late_s:.1f} s late, {words[name]}"


def deadline_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
