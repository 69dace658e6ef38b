"""paho-mqtt, told what to do in JSON lines (see tests/interop/foreign.py)."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE_S = 10.0


def say(**value: object) -> None:
    """A line to the test."""
    sys.stdout.write(json.dumps(value) + "\n")  # in one go: two threads say things
    sys.stdout.flush()


class Driver:
    """One client."""

    def __init__(self) -> None:
        self.client: paho.Client
        self.answered = threading.Event()

    def connect(self, command: dict[str, Any]) -> None:
        version, url = command["version"], urlsplit(command["url"])
        session = {"clean_session": command["clean"]} if version == 4 else {}
        transport = "websockets" if url.scheme in ("ws", "wss") else "tcp"
        callbacks = paho.CallbackAPIVersion.VERSION2
        self.client = paho.Client(callbacks, command["client_id"], protocol=version, transport=transport, **session)
        self.client.on_connect = self.client.on_subscribe = lambda *_: self.answered.set()
        self.client.on_message = lambda _client, _user, message: deliver(message)
        if url.scheme == "wss":
            self.client.tls_set(command["ca"], command["certificate"], command["certificate"])
        if (will := command["will"]) is not None:
            self.client.will_set(will["topic"], will["payload"], will["qos"], will["retain"])
        start: dict[str, Any] = {}
        if version == 5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = command["expiry_s"]
            start = {"clean_start": command["clean"], "properties": properties}
        self.client.connect(url.hostname or "", url.port or 0, **start)
        self.client.loop_start()
        self.wait()

    def subscribe(self, command: dict[str, Any]) -> None:
        self.client.subscribe(command["filter"], command["qos"])
        self.wait()

    def publish(self, command: dict[str, Any]) -> None:
        properties = None
        if (given := command["properties"]) is not None:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ContentType = given["content_type"]
            properties.ResponseTopic = given["response_topic"]
            properties.CorrelationData = given["correlation"].encode()
            properties.UserProperty = list(given["user"].items())
        info = self.client.publish(command["topic"], command["payload"], command["qos"], command["retain"], properties)
        info.wait_for_publish(PATIENCE_S)
        assert info.is_published()

    def disconnect(self, _command: dict[str, Any]) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def wait(self) -> None:
        """For the answer to what was asked."""
        assert self.answered.wait(PATIENCE_S)
        self.answered.clear()


def deliver(message: paho.MQTTMessage) -> None:
    """Says a message that came."""
    properties = message.properties.json() if message.properties is not None else {}
    found = None
    if "ContentType" in properties:
        found = {
            "content_type": properties["ContentType"],
            "response_topic": properties["ResponseTopic"],
            "correlation": bytes.fromhex(properties["CorrelationData"]).decode(),
            "user": dict(properties["UserProperty"]),
        }
    payload = message.payload.decode()
    say(
        message={
            "topic": message.topic,
            "payload": payload,
            "qos": message.qos,
            "retain": message.retain,
            "properties": found,
        }
    )


def main() -> None:
    """Obeys until standard input ends."""
    driver = Driver()
    for line in sys.stdin:
        command = json.loads(line)
        getattr(driver, command["do"])(command)
        say(done=True)


if __name__ == "__main__":
    main()
