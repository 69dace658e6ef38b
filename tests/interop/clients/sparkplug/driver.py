"""pysparkplug's edge node, told what to do in JSON lines (see tests/interop/driver.py); it is born when asked to."""

from __future__ import annotations

import datetime
import itertools
import json
import sys
import threading
from typing import Any

from pysparkplug import (
    Client,
    DataType,
    DBirth,
    DData,
    Device,
    EdgeNode,
    Message,
    MessageType,
    Metric,
    NBirth,
    QoS,
    Topic,
    get_current_timestamp,
)

GROUP = "plant"
VALUES: dict[DataType, Any] = {
    DataType.INT8: -8, DataType.INT16: -16, DataType.INT32: -32, DataType.INT64: -(1 << 63), DataType.UINT8: 255,
    DataType.UINT16: 65535, DataType.UINT32: (1 << 32) - 1, DataType.UINT64: (1 << 64) - 1, DataType.FLOAT: 12.5,
    DataType.DOUBLE: 0.1, DataType.BOOLEAN: True, DataType.STRING: "ä", DataType.TEXT: "text",
    DataType.DATETIME: datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    DataType.UUID: "8a3f3a4e-0b5c-4e0e-9d86-0a6c0b7a2f10", DataType.BYTES: b"\x00\xff", DataType.FILE: b"file",
    DataType.INT8_ARRAY: (-1, 1), DataType.INT16_ARRAY: (-2, 2), DataType.INT32_ARRAY: (-3, 3),
    DataType.INT64_ARRAY: (-4, 4), DataType.UINT8_ARRAY: (1, 255), DataType.UINT16_ARRAY: (1, 65535),
    DataType.UINT32_ARRAY: (1, 2), DataType.UINT64_ARRAY: (1, 1 << 63), DataType.FLOAT_ARRAY: (0.5, 1.5),
    DataType.DOUBLE_ARRAY: (0.1, 0.2), DataType.BOOLEAN_ARRAY: (True, False, True), DataType.STRING_ARRAY: ("a", "b"),
    DataType.DATETIME_ARRAY: (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),),
}  # fmt: skip
"""One of each type that the library has."""


def say(**value: object) -> None:
    """A line to the test."""
    sys.stdout.write(json.dumps(value) + "\n")  # in one go: two threads say things
    sys.stdout.flush()


class Driver:
    """One edge node with one device behind it."""

    def connect(self, command: dict[str, Any]) -> None:
        self.name = command["name"]
        self.client = Client(client_id=self.name)
        metrics = [Metric(get_current_timestamp(), "Node Control/Rebirth", DataType.BOOLEAN, value=False)]
        self.every = [
            Metric(get_current_timestamp(), f"types/{kind.name}", kind, value=value, alias=100 + number)
            for number, (kind, value) in enumerate(VALUES.items())
        ]
        self.node = EdgeNode(GROUP, self.name, metrics, self.client, self.told)
        self.node.register(Device("pump", self.every))
        self.node.connect("127.0.0.1", port=command["port"])

    def told(self, _node: object, message: Message) -> None:
        """NCMD; in the client's thread, which cannot wait for itself."""
        names = [metric.name for metric in message.payload.metrics]
        say(message={"topic": str(message.topic), "metrics": names, "qos": int(message.qos)})
        if "Node Control/Rebirth" in names:
            threading.Thread(target=self.be_born).start()

    def be_born(self) -> None:
        numbers = self.numbers = itertools.cycle(range(256))
        session = Metric(get_current_timestamp(), "bdSeq", DataType.INT64, value=0)  # of its first connection
        metrics = (*self.node.metrics.values(), session)
        self.send(MessageType.NBIRTH, NBirth(get_current_timestamp(), next(numbers), metrics))
        self.send(MessageType.DBIRTH, DBirth(get_current_timestamp(), next(numbers), tuple(self.every)), "pump")
        say(message={"born": True})

    def send(self, kind: MessageType, payload: Any, device: str | None = None) -> None:
        topic = Topic(message_type=kind, group_id=GROUP, edge_node_id=self.name, device_id=device)
        message = Message(topic=topic, payload=payload, qos=QoS.AT_MOST_ONCE, retain=False)
        self.client.publish(message, include_dtypes=kind != MessageType.DDATA)

    def update(self, _command: dict[str, Any]) -> None:
        """As the library does it, with names and types."""
        self.node.update_device("pump", self.every)

    def alias(self, command: dict[str, Any]) -> None:
        """Aliases alone, as the specification wants it, with this sequence number; or with the next one."""
        seq = command.get("seq")
        metrics = tuple(
            Metric(get_current_timestamp(), None, metric.datatype, value=metric.value, alias=metric.alias)
            for metric in self.every
        )
        data = DData(get_current_timestamp(), next(self.numbers) if seq is None else seq, metrics)
        self.send(MessageType.DDATA, data, "pump")

    def gone(self, _command: dict[str, Any]) -> None:
        self.node.deregister("pump")

    def disconnect(self, _command: dict[str, Any]) -> None:
        self.node.disconnect()


def main() -> None:
    driver = Driver()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            getattr(driver, command["do"])(command)
        except Exception as error:
            say(failed=repr(error))
        else:
            say(done=command["do"])


main()
