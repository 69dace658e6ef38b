"""The well-behaved device that is there all the while: paho-mqtt over mutual TLS, QoS 1, at a steady pace."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.robustness.target import wait_until

INTERVAL_S = 0.01
PATIENCE_S = 10.0


class SteadyDevice:
    """Publishes every INTERVAL_S; remembers when each message was sent and when, and in which order, acknowledged."""

    def __init__(self, name: str, port: int, ca: Path, certificate: Path) -> None:
        self._sent_at: list[float] = []
        self._packet_ids: list[int] = []
        self._acknowledged: list[tuple[int, float]] = []
        self._disconnects: list[str] = []
        self._connected = threading.Event()
        self._stop = threading.Event()
        self._topic = f"devices/{name}/telemetry/main"
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
        self._client.tls_set(str(ca), certfile=str(certificate), keyfile=str(certificate))
        self._client.on_connect = lambda *_: self._connected.set()
        self._client.on_disconnect = lambda _client, _data, _flags, reason, _properties: self._lost(str(reason))
        self._client.on_publish = lambda _client, _data, packet_id, _reason, _properties: self._took(packet_id)
        self._client.connect("127.0.0.1", port)
        self._publisher = threading.Thread(target=self._publish, name="steady device", daemon=True)

    def __enter__(self) -> SteadyDevice:
        self._client.loop_start()
        assert self._connected.wait(PATIENCE_S), "the well-behaved device was not let in"
        self._publisher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._publisher.join(PATIENCE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def mark(self) -> int:
        """A place in the stream of its messages: how many it has published."""
        return len(self._packet_ids)

    def slowest_since(self, mark: int) -> float:
        """The longest time from PUBLISH to PUBACK of those published since, in seconds.

        Raises AssertionError: it was disconnected, one stays unacknowledged, or the order is not that of publication.
        """
        until = self.mark()
        arrived = wait_until(lambda: len(self._acknowledged) >= until, PATIENCE_S)
        assert not self._disconnects, f"the well-behaved device was disconnected: {self._disconnects}"
        assert arrived, f"{until - len(self._acknowledged)} messages of the well-behaved device are not acknowledged"
        acknowledged = self._acknowledged[mark:until]
        assert [packet_id for packet_id, _ in acknowledged] == self._packet_ids[mark:until], "acknowledged out of order"
        waits = [at - sent for (_, at), sent in zip(acknowledged, self._sent_at[mark:until], strict=True)]
        return max(waits, default=0.0)

    def _publish(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._sent_at.append(time.monotonic())
            self._packet_ids.append(self._client.publish(self._topic, b'{"steady": true}', qos=1).mid)

    def _took(self, packet_id: int) -> None:
        self._acknowledged.append((packet_id, time.monotonic()))

    def _lost(self, reason: str) -> None:
        if not self._stop.is_set():
            self._disconnects.append(reason)
