"""The edge nodes of Sparkplug that speak through this gateway: what they were born with, and what is missing of them.

What a node says is taken in like any message; here stands what follows from it: documents of the node and of the
devices behind it, and requests for a birth. Whatever is wrong with a message costs that message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from bridge.config import Config, Sparkplug
from bridge.device_side.births import Births, NotStored
from bridge.device_side.broker import Broker
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore
from bridge.device_side.desired import State
from bridge.device_side.devices import BadPatch, Devices
from bridge.device_side.latest_values import LatestValues
from bridge.message import Message
from bridge.mqtt.session_name import device_of
from bridge.sparkplug import topic as kinds
from bridge.sparkplug.commands import rebirth
from bridge.sparkplug.errors import NotSparkplug
from bridge.sparkplug.names import Names
from bridge.sparkplug.node import EdgeNode, Step
from bridge.sparkplug.topic import Topic, command_topic

_log = logging.getLogger(__name__)
NODE_DEATH, DEVICE_DEATH, NOT_REBORN = "node-death", "device-death", "not-reborn"
"""Reasons for `offline` in documents, beside those of connections."""
_NS_PER_MS = 1_000_000


def open_edge_nodes(
    config: Config,
    cold: ColdStore,
    devices: Devices | None,
    broker: Broker,
    clock: Clock,
    loop: asyncio.AbstractEventLoop,
    wake: Callable[[], object],
) -> EdgeNodes | None:
    """All that a gateway knows of; None where no route is Sparkplug's. `wake`: messages that waited can go on."""
    if not any(route.sparkplug is not None for route in config.routes):
        return None
    limit, patience_s = config.limits.sparkplug_metrics, config.queue.refuse_after
    births = Births(cold, limit, patience_s, loop.call_soon_threadsafe, wake)
    return EdgeNodes(births, devices, clock, loop.time, loop.call_later, lambda message: broker.publish(message, None))


class Counts(msgspec.Struct):
    """Since the start of the process."""

    births: int = 0
    deaths: int = 0
    gaps: int = 0
    """Sequences in which messages are missing."""
    rebirths: int = 0
    """Asked for."""
    invalid: int = 0
    """Messages that are no Sparkplug: dead letters."""


class Node:
    """An edge node, and for whom it speaks."""

    __slots__ = ("asked", "client", "group", "id", "life", "session")

    def __init__(self, client: str, group: str, node: str, life: EdgeNode) -> None:
        self.client = client
        """The device, in this gateway's sense, that it connects as."""
        self.group = group
        self.id = node
        self.life = life
        self.session = ""
        """Of the client, that spoke for it last."""
        self.asked: float | None = None
        """Loop time of the last request for a birth."""

    def document(self, device: str) -> str:
        """The key of the document of a device behind it, or with "" of its own: that of its client, if it is that."""
        if not device and self.id == self.client:
            return self.client
        return Topic("", self.group, self.id, device).key


class EdgeNodes:
    """All of them."""

    def __init__(
        self,
        births: Births,
        devices: Devices | None,
        clock: Clock,
        now: Callable[[], float],
        later: Callable[[float, Callable[[], object]], object],
        publish: Callable[[Message], object],
    ) -> None:
        """Args:
        births: the names that they gave.
        devices: the documents; None where there are none.
        clock: for the time of a request.
        now: the loop's clock, seconds.
        later: the loop's `call_later`.
        publish: on the local broker.
        """
        self.counts = Counts()
        self.births = births
        self._devices = devices
        self._clock = clock
        self._now = now
        self._publish = publish
        self._latest = LatestValues(self._told, later)
        self._nodes: dict[str, dict[tuple[str, str], Node]] = {}
        """By client, then by group and node."""
        self._restore()

    def _restore(self) -> None:
        """What the gateway's last life knew. Nobody is there yet."""
        for (client, group, node, device), names in self.births:
            nodes = self._nodes.setdefault(client, {})
            known = nodes.setdefault((group, node), Node(client, group, node, EdgeNode()))
            if device:
                known.life.devices[device] = names
            else:
                known.life.names = names

    @property
    def alive(self) -> int:
        """How many were born and are there."""
        return sum(node.life.alive for nodes in self._nodes.values() for node in nodes.values())

    def node(self, client: str, topic: Topic, settings: Sparkplug) -> Node:
        """The node that the topic is about. Raises NotSparkplug: one more would be too many for that client."""
        nodes = self._nodes.setdefault(client, {})
        found = nodes.get((topic.group, topic.node))
        if found is None:
            if len(nodes) >= settings.nodes_max:
                raise NotSparkplug(f"its client speaks for {settings.nodes_max} edge nodes already")
            found = nodes[topic.group, topic.node] = Node(client, topic.group, topic.node, EdgeNode())
        return found

    def keep(self, node: Node, device: str, names: Names) -> NotStored | None:
        """Stores the names of a birth of the device, or with "" of the node; see `Births.keep`."""
        return self.births.keep((node.client, node.group, node.id, device), names)

    def take(
        self, node: Node, session: str, step: Step, state: State | None, settings: Sparkplug, *, connected: bool
    ) -> None:
        """What follows from a message that was taken in.

        Args:
            node: whose it is.
            session: of its client, that said it.
            step: what the message changes.
            state: of a birth or data, the values it told; None: they are not for documents.
            settings: of the route.
            connected: its client is; not where the message is a will.
        """
        if connected:
            node.session = session
        facts, there = step.facts, set(node.life.present)
        node.life.take(step)
        self.counts.gaps += step.gap
        if facts.kind in kinds.BIRTHS:
            self.counts.births += 1
            self._born(node.document(facts.device), state)
        elif state and settings.reported_interval is not None and node.life.is_there(facts.device):
            self._latest.add(node.document(facts.device), state, settings.reported_interval)
        elif facts.kind == kinds.DDEATH and facts.device in there:
            self.counts.deaths += 1
            self._offline(node.document(facts.device), DEVICE_DEATH)
        elif facts.kind == kinds.NDEATH and not step.ignored:
            self.counts.deaths += 1
            if connected or node.id != node.client:
                self._offline(node.document(""), NODE_DEATH)
        for device in step.gone:
            self._offline(node.document(device), NODE_DEATH if facts.kind == kinds.NDEATH else NOT_REBORN)
        if step.wants_birth and settings.rebirth:
            self._ask(node, step, settings)

    def left(self, session: str, reason: str) -> None:
        """A session's connection is over, and with it whoever it spoke for."""
        client = device_of(session)
        for node in self._nodes.get(client, {}).values():
            if node.session != session:
                continue
            was_alive = node.life.alive
            self._latest.flush(node.document(""))
            for device in node.life.lost():
                self._offline(node.document(device), reason)
            if was_alive and node.id != client:
                self._offline(node.document(""), reason)

    def _born(self, key: str, state: State | None) -> None:
        self._latest.drop(key)
        if self._devices is None:
            return
        try:
            self._devices.born(key, state)
        except BadPatch as error:
            _log.warning("device=%s: what it was born with is not in its document: %s", key, error)

    def _told(self, key: str, values: State) -> None:
        if self._devices is None:
            return
        try:
            self._devices.told(key, values)
        except BadPatch as error:
            _log.warning("device=%s: what it said is not in its document: %s", key, error)

    def _offline(self, key: str, reason: str) -> None:
        self._latest.flush(key)
        if self._devices is not None:
            self._devices.offline(key, reason, self._clock.wall_ns())

    def _ask(self, node: Node, step: Step, settings: Sparkplug) -> None:
        """For a birth: at QoS 0, so it is asked again while it does not come."""
        now = self._now()
        if node.asked is not None and now - node.asked < settings.rebirth_interval:
            return
        node.asked = now
        self.counts.rebirths += 1
        _log.warning("device=%s edge node %s/%s: %s: asked for its birth", node.client, node.group, node.id, step.stale)
        payload = rebirth(self._clock.wall_ns() // _NS_PER_MS)
        self._publish(Message(command_topic(node.group, node.id), payload))
