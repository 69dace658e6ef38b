"""Fleet: many devices on one asyncio loop, a pace, a ledger.

`start`, then `finished` (or `stop_publishing` and `drained`) says when everything was acknowledged; `stop` writes each
device's truth into the ledger.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from firmware_sim.device import Device
from firmware_sim.ledger import Head, LedgerWriter
from firmware_sim.plan import Plan

_BEAT_S = 0.01
"""Between two goes of the pacemaker."""


class Figures(msgspec.Struct, frozen=True):
    """Where a fleet stands. Messages are telemetry, without what devices report of their state."""

    devices: int
    connected: int
    connections: int
    """Made since the start, reconnects among them."""
    offered: int
    published: int
    acknowledged: int
    refused: int
    resent: int
    waiting: int
    """Not yet handed to the network, reports of state included."""
    unacknowledged: int
    """In flight, reports of state included."""
    desired_received: int


class Fleet:
    """A fleet that runs until it is stopped."""

    def __init__(self, plan: Plan, ledger: Path) -> None:
        """Make the devices.

        Raises:
            OSError: the ledger cannot be written, or a certificate cannot be read.
            KeyFileError: a public key to seal for cannot be read.
        """
        self.plan = plan
        self._ledger = LedgerWriter(ledger)
        self._pool = ThreadPoolExecutor(plan.connect_threads, thread_name_prefix="connect")
        versions = itertools.cycle(plan.versions)
        self.devices = {
            name: Device(plan, name, version, self._pool, self._ledger)
            for name, version in zip(plan.devices, versions, strict=False)
        }
        self._turn = itertools.cycle(self.devices.values())
        self._offered = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._pace_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect the devices and begin to publish as they come."""
        self.connect()
        self.publish()

    def connect(self) -> None:
        """Connect the devices; they report their state but publish nothing else yet."""
        self._ledger.write(Head(self.plan.marker, self.plan.topic, time.time_ns()))
        for device in self.devices.values():
            device.link.start()
        self._tasks.append(asyncio.get_running_loop().create_task(self._keep_house()))

    def publish(self, rate: float | None = None, messages: int | None = None) -> None:
        """Begin to publish: the plan's messages of each device at the plan's rate, if nothing else is given."""
        each = self.plan.messages if messages is None else messages
        pace = self._pace(rate or self.plan.rate, each * len(self.devices) or math.inf)
        self._pace_task = asyncio.get_running_loop().create_task(pace)

    def stop_publishing(self) -> None:
        """Offer nothing new; what was offered is still sent."""
        if self._pace_task is not None:
            self._pace_task.cancel()

    async def connected(self, timeout_s: float) -> bool:
        """Wait until every device is connected; False when that took too long."""
        return await self.until(lambda: all(device.link.connected for device in self.devices.values()), timeout_s)

    async def offered(self) -> None:
        """Wait until the plan's messages were all given to the devices, or publishing was stopped."""
        if self._pace_task is not None:
            await asyncio.wait([self._pace_task])

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing that was offered so far waits or is in flight; False when that took too long."""
        return await self.until(self._settled, timeout_s)

    async def finished(self, timeout_s: float) -> bool:
        """Wait until the plan's messages were all offered and acknowledged; False when that took too long."""
        deadline = time.monotonic() + timeout_s
        try:
            await asyncio.wait_for(self.offered(), timeout_s)
        except TimeoutError:
            return False
        return await self.drained(max(0.0, deadline - time.monotonic()))

    def write_truth(self) -> None:
        """Write every device's truth, as it is now, and flush the ledger."""
        for device in self.devices.values():
            self._ledger.write(device.truth())
        self._ledger.flush()

    async def stop(self) -> None:
        """Stop publishing, say DISCONNECT, write each device's truth (offline), close the ledger."""
        self.stop_publishing()
        await asyncio.gather(*(device.link.stop() for device in self.devices.values()))
        for task in self._tasks:
            task.cancel()
        self.write_truth()
        self._ledger.close()
        self._pool.shutdown()

    def figures(self) -> Figures:
        """Count."""
        devices = list(self.devices.values())
        return Figures(
            devices=len(devices),
            connected=sum(device.link.connected for device in devices),
            connections=sum(device.link.connections for device in devices),
            offered=self._offered,
            published=sum(device.published for device in devices),
            acknowledged=sum(device.acknowledged for device in devices),
            refused=sum(device.refused for device in devices),
            resent=sum(device.resent for device in devices),
            waiting=sum(device.waiting for device in devices),
            unacknowledged=sum(device.unacknowledged for device in devices),
            desired_received=sum(device.desired_received for device in devices),
        )

    def last_error(self) -> str:
        """Say why a device that is not connected is not; for people."""
        away = (device for device in self.devices.values() if not device.link.connected and device.link.last_error)
        return next((f"{device.name}: {device.link.last_error}" for device in away), "")

    def _settled(self) -> bool:
        return not any(device.waiting or device.unacknowledged for device in self.devices.values())

    async def _pace(self, rate: float, left: float) -> None:
        """Offer messages to the devices in turn, at `rate` a second, never more than a second's worth at once."""
        last, credit = time.monotonic(), 0.0
        while left:
            now = time.monotonic()
            credit = min(credit + (now - last) * rate, max(1.0, rate))
            last = now
            due = int(min(credit, left))
            for _ in range(due):
                next(self._turn).offer()
            self._offered += due
            left -= due
            credit -= due
            await asyncio.sleep(_BEAT_S)

    async def _keep_house(self) -> None:
        while True:
            for device in self.devices.values():
                device.link.tick()
            self._ledger.flush()
            await asyncio.sleep(1.0)

    @staticmethod
    async def until(true: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until something is true; False when that took too long."""
        deadline = time.monotonic() + timeout_s
        while True:
            if true():
                return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
