"""Rights: what those who are connected, or have a session that waits, may do from now on, when that has changed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from bridge.device_side.broker import Broker, Client
from bridge.device_side.connection import Connection
from bridge.device_side.units import Units
from bridge.security.acl import Acl

_log = logging.getLogger(__name__)


class Rights:
    """Narrows sessions. A device's rights are the device's: those of the certificate with which it came last."""

    def __init__(self, broker: Broker, units: Units, acl: Acl) -> None:
        self._broker = broker
        self._units = units
        self._acl = acl

    def came(self, client: Client, units: Sequence[str]) -> None:
        """The client comes with a certificate that names these organizational units."""
        if self._units.enrol(client.device, units):
            for other in self._broker.sessions_of(client.device):
                if other.connection is not None:
                    other.connection.ways.clear()
                self.narrow(other)
        else:
            self.narrow(client)

    def session_over(self, device: str) -> None:
        """One of the device's sessions is over; with the last of them goes what its certificate said."""
        if not self._broker.sessions_of(device):
            self._units.forget(device)

    def changed(self, connections: Iterable[Connection]) -> None:
        """The ACL is another: subscriptions that it does not allow any more end, the next message is judged anew."""
        for connection in connections:
            connection.ways.clear()
        for client in self._broker.clients.values():
            self.narrow(client)

    def rule(self, device: str, topic_filter: str) -> str:
        """What decides whether the device may subscribe to that."""
        return self._acl.subscribing(device, topic_filter).rule

    def narrow(self, client: Client) -> None:
        """Ends those of its subscriptions that are not allowed any more."""
        for topic_filter in self._broker.narrow(client):
            _log.warning("ended device=%s: its subscription %s is not allowed any more", client.device, topic_filter)
