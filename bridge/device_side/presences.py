"""Presences: whether devices are there, as their documents say. A device is as long as one of its connections is."""

from __future__ import annotations

from collections.abc import Callable

from bridge.device_side.arrival import Arrival
from bridge.device_side.broker import TAKEN_OVER, Broker, Client
from bridge.device_side.clock import Clock
from bridge.device_side.connection import Connection
from bridge.device_side.devices import Devices


class Presences:
    """Tells the documents who comes and goes; tells nobody where there are none."""

    def __init__(self, devices: Devices | None, broker: Broker, clock: Clock, now: Callable[[], float]) -> None:
        """Args:
        devices: the documents; None where no state topic is configured.
        broker: knows a device's other sessions.
        clock: for the presence's last_seen.
        now: the loop's clock, seconds.
        """
        self._devices = devices
        self._broker = broker
        self._clock = clock
        self._now = now
        self._seen: dict[str, int] = {}
        """When those were last heard that have left while another connection of their device stood; Unix ns."""

    def came(self, client: Client, arrival: Arrival) -> None:
        """The client is let in."""
        if self._devices is not None:
            self._devices.online(client.device, arrival, already=self._others(client))

    def left(self, client: Client, connection: Connection, reason: str) -> None:
        """The client's connection has ended; it may not have been let in yet."""
        if self._devices is None or reason == TAKEN_OVER:  # (then another one comes)
            return
        idle_ns = int((self._now() - connection.last_received) * 1e9)
        seen_ns = max(self._clock.wall_ns() - idle_ns, self._seen.pop(client.device, 0))
        if self._others(client):
            self._seen[client.device] = seen_ns
        else:
            self._devices.offline(client.device, reason, seen_ns)

    def _others(self, client: Client) -> bool:
        """Whether another session of the device is connected."""
        return any(
            other is not client and other.connection is not None and other.connection.session.state is not None
            for other in self._broker.sessions_of(client.device)
        )
