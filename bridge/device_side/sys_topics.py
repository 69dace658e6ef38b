"""`$SYS/broker/…`: the broker's own figures as retained messages, under the names that mosquitto gives them.

They are kept in memory only, told when they have changed, and are whoever's to read whom `acl.subscribe` lets. Left out
of mosquitto's: `publish/bytes/…`, which would cost the way of each message, and what belongs to its bridges.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping
from pathlib import Path

from bridge.device_side.broker import Broker
from bridge.device_side.load_average import LoadAverage
from bridge.message import Message

PREFIX = "$SYS/broker/"
_LOADS = {
    "messages/received": "messages/received",
    "messages/sent": "messages/sent",
    "publish/received": "publish/messages/received",
    "publish/sent": "publish/messages/sent",
    "publish/dropped": "publish/messages/dropped",
    "bytes/received": "bytes/received",
    "bytes/sent": "bytes/sent",
    "sockets": "sockets",
    "connections": "connections",
}
"""Under `load/`, and the counter behind it."""
_UNTOLD = ("sockets", "connections")
"""Counters that have no topic of their own."""
_KIB = 1024


class SysTopics:
    """What was told last."""

    def __init__(self, broker: Broker, version: str, started: float) -> None:
        """Args:
        broker: whose figures these are.
        version: of the program.
        started: reading of the loop's clock at the start, seconds.
        """
        self._broker = broker
        self._version = version
        self._started = self._last = started
        self._told: dict[str, str] = {}
        self._most = 0
        self._loads = {name: LoadAverage() for name in _LOADS}

    def tell(self, now: float, traffic: Mapping[str, int]) -> None:
        """Publishes what is not as it was; `traffic`: counters of the connections, by name."""
        counters = {
            **traffic,
            "publish/messages/sent": self._broker.delivered,
            "publish/messages/dropped": self._broker.dropped,
        }
        figures = self._figures(now) | {name: str(count) for name, count in counters.items() if name not in _UNTOLD}
        for name, value in (figures | self._averages(now, counters)).items():
            if self._told.get(name) != value:
                self._told[name] = value
                self._broker.announce(Message(PREFIX + name, value.encode(), retain=True))

    def _averages(self, now: float, counters: Mapping[str, int]) -> dict[str, str]:
        elapsed_s, self._last = now - self._last, now
        told: dict[str, str] = {}
        for name, counter in _LOADS.items():
            load = self._loads[name]
            load.update(counters.get(counter, 0), elapsed_s)
            told |= {f"load/{name}/{minutes}min": f"{rate:.2f}" for minutes, rate in load.per_minute.items()}
        return told

    def _figures(self, now: float) -> dict[str, str]:
        broker = self._broker
        total, connected = len(broker.clients), sum(1 for _ in broker.connected())
        self._most = max(self._most, connected)
        states = [client.state for client in broker.clients.values()]
        stored = str(len(broker.retained) + sum(len(state.queue) + len(state.in_flight) for state in states))
        heap, heap_most = _memory()
        return {
            "version": f"busbridge version {self._version}",
            "uptime": f"{now - self._started:.0f} seconds",
            "clients/total": str(total),
            "clients/connected": str(connected),
            "clients/active": str(connected),
            "clients/disconnected": str(total - connected),
            "clients/inactive": str(total - connected),
            "clients/maximum": str(self._most),
            "clients/expired": str(broker.expired),
            "subscriptions/count": str(sum(len(state.subscriptions) for state in states)),
            "shared_subscriptions/count": str(broker.shared_subscriptions),
            "retained messages/count": str(len(broker.retained)),
            "messages/stored": stored,
            "store/messages/count": stored,
            "store/messages/bytes": str(broker.retained.stored_bytes + sum(state.queue_bytes for state in states)),
            "heap/current": str(heap),
            "heap/maximum": str(heap_most),
        }


def _memory() -> tuple[int, int]:
    """Resident bytes of the device side, now and at the most: what a heap is in Python nobody could use."""
    now = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    # The kernel's own maximum may lag behind by some pages.
    return now, max(now, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB)
