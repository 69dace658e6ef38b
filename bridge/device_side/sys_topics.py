"""`$SYS/broker/…`: the broker's own figures as retained messages, under the names that mosquitto gives them.

They are kept in memory only, told when they have changed, and are whoever's to read whom `acl.subscribe` lets.
"""

from __future__ import annotations

from collections.abc import Mapping

from bridge.device_side.broker import Broker
from bridge.message import Message

PREFIX = "$SYS/broker/"


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
        self._started = started
        self._told: dict[str, str] = {}
        self._most = 0

    def tell(self, now: float, traffic: Mapping[str, int]) -> None:
        """Publishes what is not as it was; `traffic`: figures of the connections, by name."""
        for name, value in (self._figures(now) | {name: str(count) for name, count in traffic.items()}).items():
            if self._told.get(name) != value:
                self._told[name] = value
                self._broker.announce(Message(PREFIX + name, value.encode(), retain=True))

    def _figures(self, now: float) -> dict[str, str]:
        broker = self._broker
        total, connected = len(broker.clients), sum(1 for _ in broker.connected())
        self._most = max(self._most, connected)
        return {
            "version": f"busbridge version {self._version}",
            "uptime": f"{now - self._started:.0f} seconds",
            "clients/total": str(total),
            "clients/connected": str(connected),
            "clients/disconnected": str(total - connected),
            "clients/maximum": str(self._most),
            "clients/expired": str(broker.expired),
            "subscriptions/count": str(sum(len(client.state.subscriptions) for client in broker.clients.values())),
            "retained messages/count": str(len(broker.retained)),
            "publish/messages/sent": str(broker.delivered),
            "publish/messages/dropped": str(broker.dropped),
        }
