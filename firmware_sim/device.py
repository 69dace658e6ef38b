"""Device: one simulated device. What it has to say, what is in flight, what it knows of itself.

It counts its messages from 1, never has two orders in one: what waits is sent first come first served, what was in
flight when a connection ended is sent again by paho, in order, before anything new. It reports the desired state it is
given, as a device that obeys would.

Not here: MQTT 5 reason codes in PUBREC. paho answers them as if all were well, so a QoS 2 publication that the server
refused shows only by PUBCOMP's code 0x92 for an unknown packet id, which is also what a release after a crash of the
server looks like; it is taken as acknowledged.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from concurrent.futures import Executor
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from bridge.security.device_seal import DeviceSealer
from bridge.security.keys import load_public
from firmware_sim import payload
from firmware_sim.ledger import Acknowledged, LedgerWriter, Refused, Resent, Sent, Truth
from firmware_sim.link import Link
from firmware_sim.merge_patch import merge
from firmware_sim.plan import Plan, Version

_PACKET_ID_NOT_FOUND = 0x92


class Telemetry(msgspec.Struct):
    """A telemetry message in flight."""

    n: int
    qos: int


class Report(msgspec.Struct):
    """A merge patch of the reported state: waiting, or in flight."""

    patch: dict[str, Any]


class Device:
    """One device, its counters and its truth."""

    def __init__(self, plan: Plan, name: str, version: Version, pool: Executor, ledger: LedgerWriter) -> None:
        self.name = name
        self.version = version
        self.link = Link(plan, name, version, pool, self._up, self.pump)
        self.published = 0
        """Telemetry handed to the network; also the counter of the last message."""
        self.acknowledged = 0
        self.refused = 0
        self.resent = 0
        self.reported: dict[str, Any] = {}
        self.desired: dict[str, Any] | None = None
        """The last desired state it received: `version` and `state`."""
        self.desired_received = 0
        self._plan, self._ledger = plan, ledger
        self._topic = plan.topic.format(device=name)
        self._sealer = _sealer(plan, name) if plan.seal_for else None
        self._due = 0
        self._reports: deque[Report] = deque()
        self._in_flight: dict[int, Telemetry | Report] = {}
        self._hook()

    @property
    def waiting(self) -> int:
        """Messages not handed to the network yet."""
        return self._due + len(self._reports)

    @property
    def unacknowledged(self) -> int:
        """Messages handed to the network whose acknowledgement has not come."""
        return len(self._in_flight)

    def offer(self) -> None:
        """One more telemetry message is to be sent, now or when there is a way."""
        self._due += 1
        self.pump()

    def report(self, patch: dict[str, Any]) -> None:
        """Change the reported state by a merge patch (RFC 7386) and publish the patch."""
        self.reported = merge(self.reported, patch)
        self._reports.append(Report(patch))
        self.pump()

    def truth(self) -> Truth:
        """Say what this device knows of itself now."""
        settled = not self._in_flight and not self.waiting
        return Truth(self.name, self.link.connected, self.reported, settled, self.desired)

    def pump(self) -> None:
        """Hand over what waits, as far as connection and window allow."""
        while self.link.connected and self.waiting and len(self._in_flight) < self._plan.window:
            if self._reports:
                self._publish_report(self._reports.popleft())
            else:
                self._due -= 1
                self._publish_telemetry()

    def _hook(self) -> None:
        self.link.client.on_publish = self._acknowledge
        self.link.client.on_message = self._receive

    def _up(self, _session_present: bool) -> None:
        self._count_resent()
        if self._plan.state:
            self.link.client.subscribe(f"devices/{self.name}/state/desired", qos=1)
            if not self.reported:
                self.reported = {"firmware": "1.4.2", "protocol": self.version, "boots": 1, "booting": True}
                self._reports.append(Report(self.reported))

    def _count_resent(self) -> None:
        """Note what paho is about to send again; at QoS 0 it sends nothing again and says nothing of it either."""
        now = time.time_ns()
        for mid, item in list(self._in_flight.items()):
            if isinstance(item, Telemetry) and item.qos == 0:
                del self._in_flight[mid]
            elif isinstance(item, Telemetry):
                self.resent += 1
                self._ledger.write(Resent(self.name, item.n, now))

    def _publish_telemetry(self) -> None:
        self.published += 1
        n, now = self.published, time.time_ns()
        qos = self._plan.qos[n % len(self._plan.qos)]
        value = payload.encode(self.name, n, qos, now, self._plan.marker, self._plan.size)
        self._ledger.write(Sent(self.name, n, qos, now, payload.digest(value)))
        if self._sealer is not None:
            value = self._sealer.seal(self._topic, value)
        self._hand_over(self._topic, value, qos, Telemetry(n, qos))
        if self._plan.state and self._plan.report_every and n % self._plan.report_every == 0:
            self.report({"sent": n, "boots": 1, "booting": None, "links": {"count": self.link.connections}})

    def _publish_report(self, report: Report) -> None:
        value = json.dumps(report.patch).encode()
        self._hand_over(f"devices/{self.name}/state/reported", value, max(1, *self._plan.qos), report)

    def _hand_over(self, topic: str, value: bytes, qos: int, item: Telemetry | Report) -> None:
        info = self.link.client.publish(topic, value, qos)
        if info.rc == paho.MQTT_ERR_QUEUE_SIZE:
            raise RuntimeError(f"{self.name}: packet id {info.mid} is in use after a whole round of them")
        self._in_flight[info.mid] = item

    def _acknowledge(self, _client: paho.Client, _userdata: Any, mid: int, reason: ReasonCode, _props: Any) -> None:
        item = self._in_flight.pop(mid)
        if not isinstance(item, Telemetry) or item.qos == 0:
            return
        if reason.is_failure and reason.value != _PACKET_ID_NOT_FOUND:
            self.refused += 1
            self._ledger.write(Refused(self.name, item.n, time.time_ns(), str(reason)))
            return
        self.acknowledged += 1
        self._ledger.write(Acknowledged(self.name, item.n, time.time_ns()))

    def _receive(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        before, self.desired = self.desired, json.loads(message.payload) if message.payload else None
        self.desired_received += 1
        if self.desired is not None and self.desired != before:
            self.report(self.desired["state"])


def _sealer(plan: Plan, name: str) -> DeviceSealer:
    """A simulated device has no flash to count its boots in: the time takes their place, so that numbers rise."""
    return DeviceSealer(
        name, [load_public(path) for path in plan.seal_for], os.urandom, last_number=int(time.time()) << 32
    )
