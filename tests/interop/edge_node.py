"""An edge node of Sparkplug, as a test wants it: it numbers what it says, uses aliases, and can leave messages out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from tests.interop.paho_device import Device
from tests.support.sparkplug_bytes import chunk, metric, payload, single, whole

INT8, INT32, INT64, FLOAT, STRING, BOOLEAN = 1, 3, 4, 9, 12, 11
Told = dict[str, tuple[int, int, bytes]]
"""Name → alias, data type, value (a whole field)."""
NODE: Told = {"Supply Voltage": (1, FLOAT, single(12, 12.1)), "Properties/OS": (2, STRING, chunk(15, "Linux"))}
PUMP: Told = {"Temperature": (10, INT8, whole(10, 0xFF)), "Running": (11, BOOLEAN, whole(14, 1))}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class EdgeNode(Device):
    """Connects with the will that Sparkplug asks for. Its group is `plant`."""

    def __init__(self, port: int, name: str, bd_seq: int = 0, *, client: str | None = None, **options: Any) -> None:
        """`client`: the client id, where it is not the node's name."""
        self.name = name
        self.bd_seq = bd_seq
        self.seq = 0
        super().__init__(port, client or name, will=(self.topic("NDEATH"), self.death(), 1, False), **options)

    def topic(self, kind: str, device: str = "") -> str:
        return "/".join(
            ("spBv1.0", "plant", kind, self.name, device) if device else ("spBv1.0", "plant", kind, self.name)
        )

    def death(self) -> bytes:
        return payload([metric("bdSeq", whole(11, self.bd_seq), datatype=INT64)], timestamp=now_ms())

    def say(self, kind: str, metrics: Iterable[bytes] = (), device: str = "", qos: int = 0) -> int:
        """With the next number; returns the birth's time or that of the message, ms."""
        now = now_ms()
        assert self.publish(self.topic(kind, device), payload(metrics, seq=self.seq, timestamp=now), qos) == 0
        self.seq = (self.seq + 1) % 256
        return now

    def born(self, told: Told = NODE, qos: int = 0) -> int:
        """NBIRTH."""
        self.seq = 0
        session = metric("bdSeq", whole(11, self.bd_seq), datatype=INT64)
        rebirth = metric("Node Control/Rebirth", whole(14, 0), datatype=BOOLEAN)
        return self.say("NBIRTH", [session, rebirth, *births(told)], qos=qos)

    def device_born(self, device: str = "pump", told: Told = PUMP) -> int:
        """DBIRTH."""
        return self.say("DBIRTH", births(told), device)

    def device_data(self, *values: tuple[int, bytes], device: str = "pump", qos: int = 0) -> int:
        """DDATA: alias and value of each metric."""
        return self.say("DDATA", [metric(alias=alias, value=value) for alias, value in values], device, qos)

    def lose(self, count: int = 1) -> None:
        """So many messages are never sent."""
        self.seq = (self.seq + count) % 256


def births(told: Told) -> list[bytes]:
    return [
        metric(name, value, alias=alias, datatype=datatype, timestamp=now_ms())
        for name, (alias, datatype, value) in told.items()
    ]
