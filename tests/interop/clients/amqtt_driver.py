"""amqtt's client, told what to do in JSON lines (see tests/interop/foreign.py)."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from amqtt.client import MQTTClient


def say(**value: object) -> None:
    """A line to the test."""
    print(json.dumps(value), flush=True)


async def deliver(client: MQTTClient) -> None:
    """Says every message that comes."""
    while True:
        message = await client.deliver_message()
        assert message is not None
        packet = message.publish_packet
        say(
            message={
                "topic": message.topic,
                "payload": bytes(message.data or b"").decode(),
                "qos": message.qos,
                "retain": bool(packet.retain_flag) if packet is not None else False,
            }
        )


async def connect(command: dict[str, Any]) -> MQTTClient:
    """A client that does not come back by itself."""
    will = command["will"]
    settings: dict[str, Any] = {"auto_reconnect": False, "connection_timeout": 10}
    if will is not None:
        settings["will"] = {
            "topic": will["topic"],
            "message": will["payload"],
            "qos": will["qos"],
            "retain": will["retain"],
        }
    client = MQTTClient(command["client_id"], config=settings)
    await client.connect(command["url"].replace("tcp:", "mqtt:"), cleansession=command["clean"])
    return client


async def main() -> None:
    """Obeys until standard input ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        if command["do"] == "connect":
            client = await connect(command)
            delivery = loop.create_task(deliver(client))
        elif command["do"] == "subscribe":
            await client.subscribe([(command["filter"], command["qos"])])
        elif command["do"] == "publish":
            payload = command["payload"].encode()
            await client.publish(command["topic"], payload, qos=command["qos"], retain=command["retain"])
        else:
            delivery.cancel()
            await client.disconnect()
        say(done=True)


if __name__ == "__main__":
    asyncio.run(main())
