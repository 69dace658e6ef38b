"""Two gateways that write about the same devices, in every order in which their steps may cross: what a reader of the
topic sees never goes back, and in the end it is true.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.effort import EFFORT
from tests.support.kafka.documents import replaced
from tests.unit.bus_side.crossing_model import Broker, Gateway
from tests.unit.device_side.clocks import HandClock

GATEWAYS, DEVICES = ("gw-a", "gw-b"), ("dev-1", "dev-2")
ENOUGH = 2000
"""Steps of each gateway in which all that waits must have gone out: many times what it takes."""


class World:
    """What is true, and what is done to it."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.broker = Broker()
        self.gateways = [Gateway(name, number, self.broker, self.clock) for number, name in enumerate(GATEWAYS)]
        self.where: dict[str, Gateway] = {}
        """Of a device, the gateway that it connected to last."""
        self.reported: dict[str, int] = {}
        self.online: dict[str, bool] = {}

    async def act(self, deed: str, gateway: int, device: str) -> None:
        """One thing happens, and each bus side does what it can without another step."""
        self.clock.pass_by(0.01)
        deeds: dict[str, Callable[[Gateway, str], object]] = {
            "connect": self._connect, "report": self._report, "drop": self._drop, "kill": self._kill,
            "step": lambda gateway, device: gateway.gate.open(),
            "break": lambda gateway, device: gateway.gate.open(broken=True),
            "restart": lambda gateway, device: gateway.start_bus(),
            "hear": lambda gateway, device: gateway.hear(),
            "mark": lambda gateway, device: self.broker.markers and self.broker.mark(gateway.name == GATEWAYS[0]
                                                                                     and len(self.broker.markers) - 1),
        }  # fmt: skip
        deeds[deed](self.gateways[gateway], device)
        await self.rest()

    async def rest(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Whatever waits goes out, and is heard."""
        for _ in range(ENOUGH):
            for gateway in self.gateways:
                gateway.gate.open()
                gateway.hear()
            await self.rest()
            while self.broker.markers:
                self.broker.mark()
            if all(gateway.done for gateway in self.gateways) and not any(self.broker.open.values()):
                return
        raise AssertionError(f"after {ENOUGH} steps something still waits")

    def _connect(self, gateway: Gateway, device: str) -> None:
        gateway.devices.online(device)
        self.where[device], self.online[device] = gateway, True

    def _report(self, gateway: Gateway, device: str) -> None:
        if self.online.get(device):
            self.reported[device] = self.reported.get(device, 0) + 1
            patch = json.dumps({"n": self.reported[device]}).encode()
            self.where[device].devices.report(device, patch, None, packet_id=0, effect=None)

    def _drop(self, gateway: Gateway, device: str) -> None:
        """What the gateway still has of it is gone, also where that is not the last connection."""
        document = gateway.devices.get(device)
        presence = document.presence if document is not None else None
        if presence is not None and presence.gateway == gateway.name and presence.state == "online":
            gateway.devices.offline(device, "connection-lost", None)
            if self.where.get(device) is gateway:
                self.online[device] = False

    def _kill(self, gateway: Gateway, device: str) -> None:
        gateway.start()
        for device, where in self.where.items():
            if where is gateway:
                self.online[device] = False

    def check(self) -> None:
        """At each record, and at the end."""
        records = self.broker.records()
        assert replaced(records) == []
        last = {each.key().decode(): json.loads(each.value()) for each in records}
        for device, gateway in self.where.items():
            presence = last[device]["presence"]
            true = ("online" if self.online[device] else "offline", gateway.name)
            assert (presence["state"], presence["gateway"]) == true


DEEDS = st.tuples(
    st.sampled_from(
        ["connect"] * 4 + ["report"] * 3 + ["drop"] * 2 + ["step"] * 22 + ["hear"] * 3 + ["mark"] * 6
        + ["break", "restart", "kill"]
    ),
    st.integers(0, 1),
    st.sampled_from(DEVICES),
)  # fmt: skip


async def played(deeds: list[tuple[str, int, str]]) -> World:
    world = World()
    for deed, gateway, device in deeds:
        await world.act(deed, gateway, device)
    await world.settle()
    for gateway in world.gateways:
        await gateway.end()
    return world


@settings(max_examples=100 * EFFORT, deadline=None)
@given(st.lists(DEEDS, min_size=10, max_size=120))
def test_nothing_newer_is_ever_replaced_by_something_older(deeds: list[tuple[str, int, str]]) -> None:
    asyncio.run(played(deeds)).check()
