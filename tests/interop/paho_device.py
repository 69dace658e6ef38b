"""paho-mqtt as a test wants it: every wait has an end, everything that came is kept."""

from __future__ import annotations

import queue
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.interop.gateway import wait_until

V311, V5 = paho.MQTTv311, paho.MQTTv5
PATIENCE_S = 10.0


class Device:
    """One client with its own thread. A context manager: connected within, disconnected with good manners after."""

    def __init__(
        self,
        port: int,
        client_id: str,
        version: int = V5,
        *,
        clean: bool = True,
        expiry_s: int = 0,
        keepalive_s: int = 60,
        will: tuple[str, bytes, int, bool] | None = None,
        certificate: tuple[str, str] | None = None,
        transport: Literal["tcp", "websockets"] = "tcp",
    ) -> None:
        """`certificate`: paths of the CA and of the device's certificate with its key."""
        session = {"clean_session": clean} if version == V311 else {}
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id, protocol=version, transport=transport, **session
        )
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = self._on_message
        self.client.on_publish = self._on_publish
        self.client.on_subscribe = self._on_subscribe
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.connects: list[tuple[bool, int]] = []
        """Session present and reason of each CONNACK."""
        self.disconnects: list[int] = []
        """Reason of each end."""
        self.published: dict[int, int] = {}
        """Reason by packet identifier."""
        self.subscribed: dict[int, list[int]] = {}
        if will is not None:
            self.client.will_set(*will)
        if certificate is not None:
            self.client.tls_set(certificate[0], certificate[1], certificate[1])
        self._start: dict[str, Any] = {"port": port, "keepalive": keepalive_s}
        if version == V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = expiry_s
            self._start |= {"clean_start": clean, "properties": properties}

    def __enter__(self) -> Device:
        self.client.reconnect_delay_set(30)  # a test connects again itself
        self.client.connect("127.0.0.1", **self._start)
        self.client.loop_start()
        wait_until(lambda: self.connects or self.disconnects, "CONNACK", PATIENCE_S)
        return self

    def __exit__(self, *_error: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def publish(self, topic: str, payload: bytes, qos: int = 0, **options: Any) -> int:
        """Waits for the end of the exchange; returns its reason."""
        info = self.client.publish(topic, payload, qos, **options)
        wait_until(lambda: info.mid in self.published, f"the end of the exchange at QoS {qos}", PATIENCE_S)
        return self.published[info.mid]

    def subscribe(self, topic_filter: str, qos: int = 0) -> int:
        """Returns the reason in SUBACK."""
        _, mid = self.client.subscribe(topic_filter, qos)
        assert mid is not None
        wait_until(lambda: mid in self.subscribed, "SUBACK", PATIENCE_S)
        return self.subscribed[mid][0]

    def message(self, timeout_s: float = PATIENCE_S) -> tuple[str, bytes, int, bool]:
        """The next one that came: topic, payload, QoS, retain."""
        got = self.messages.get(timeout=timeout_s)
        return got.topic, got.payload, got.qos, bool(got.retain)

    def drop(self) -> None:
        """Ends the connection without a word."""
        self.client.loop_stop()
        sock = self.client.socket()
        assert sock is not None
        sock.close()

    def _on_connect(self, _client: paho.Client, _user: object, flags: Any, reason: Any, _properties: object) -> None:
        self.connects.append((flags.session_present, reason.value))

    def _on_disconnect(self, _client: paho.Client, _user: object, _flags: Any, reason: Any, _p: object) -> None:
        self.disconnects.append(reason.value)

    def _on_message(self, _client: paho.Client, _user: object, message: paho.MQTTMessage) -> None:
        self.messages.put(message)

    def _on_publish(self, _client: paho.Client, _user: object, mid: int, reason: Any, _properties: object) -> None:
        self.published[mid] = reason.value

    def _on_subscribe(self, _client: paho.Client, _user: object, mid: int, reasons: Any, _properties: object) -> None:
        self.subscribed[mid] = [reason.value for reason in reasons]
