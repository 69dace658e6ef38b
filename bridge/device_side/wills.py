"""Wills that wait: published after their delay or with the end of the session, whichever is first (MQTT5 §3.1.3.2.2).

They wait in memory: a gateway that stops publishes none, as it does for the clients that are connected.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.message import Message
from bridge.mqtt.events import Will


class Wills:
    """Of clients that went without a word."""

    def __init__(self, publish: Callable[[str, Message], None]) -> None:
        """`publish` takes the device and what it leaves."""
        self._publish = publish
        self._waiting: dict[str, tuple[float, Message]] = {}
        """When, by the loop's clock, and what, by device."""

    def left(self, device: str, will: Will, now: float, *, session_over: bool) -> None:
        """The connection ended and the will counts [MQTT-3.1.2-8]."""
        if session_over or not will.delay_s:
            self._publish(device, will.message)
        else:
            self._waiting[device] = (now + will.delay_s, will.message)

    def resumed(self, device: str) -> None:
        """A new connection goes on with the session: the will is not sent [MQTT-3.1.3-9]."""
        self._waiting.pop(device, None)

    def session_over(self, device: str) -> None:
        """No new connection can go on with the session any more: what waits is published now."""
        waiting = self._waiting.pop(device, None)
        if waiting is not None:
            self._publish(device, waiting[1])

    def publish_due(self, now: float) -> None:
        """Publishes those whose delay is over."""
        for device in [device for device, (due, _) in self._waiting.items() if due <= now]:
            self.session_over(device)
