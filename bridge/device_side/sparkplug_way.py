"""What becomes of one session's messages on one topic of Sparkplug: judged first, taken when the queue has them.

What cannot be understood goes on as it is, as a dead letter. A message that is offered again is judged again: nothing
has changed meanwhile.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from bridge.config import Sparkplug
from bridge.device_side.births import NotStored
from bridge.device_side.desired import State
from bridge.device_side.edge_nodes import EdgeNodes, Node
from bridge.device_side.faults import faults_of
from bridge.mqtt.session_name import device_of
from bridge.sparkplug import topic as kinds
from bridge.sparkplug.errors import NotSparkplug
from bridge.sparkplug.host_state import host_state
from bridge.sparkplug.metrics import Bounds, Json, decode
from bridge.sparkplug.names import Names, names_of_birth
from bridge.sparkplug.node import Facts, Step
from bridge.sparkplug.record import encode, record_of
from bridge.sparkplug.topic import Topic, parse
from bridge.sparkplug.wire import parse as parse_payload

_log = logging.getLogger(__name__)
_BD_SEQ = "bdSeq"
Pairs = tuple[tuple[str, bytes], ...]
_JSON: Pairs = (("content-type", b"application/json"),)


class Judged(msgspec.Struct):
    """A message, as it goes on."""

    payload: bytes
    headers: Pairs = ()
    """Beside those of every message."""
    invalid: bool = False
    """It is none of Sparkplug: a dead letter."""
    waits_for: NotStored | None = None
    """It does not go on yet."""
    step: Step | None = None
    state: State | None = None
    """For its document: of a birth, what it told; of data, what has changed. None: nothing of it is to be there."""


class SparkplugWay:
    """Of one session and one topic."""

    __slots__ = ("_bounds", "_fault", "_node", "_nodes", "_reports", "_said", "_session", "_settings", "_topic")

    def __init__(self, session: str, topic: str, settings: Sparkplug, nodes: EdgeNodes, *, reports: bool) -> None:
        """Args:
        session: that of the device that publishes there.
        topic: of MQTT.
        settings: of the route.
        nodes: all edge nodes.
        reports: what they tell may stand in their documents.
        """
        self._session = session
        self._settings = settings
        self._nodes = nodes
        self._reports = reports
        self._bounds = Bounds(settings.values_max, settings.nesting_max)
        self._fault: NotSparkplug | None = None
        self._topic = Topic("")
        self._node: Node | None = None
        self._said = False
        try:
            self._topic = parse(topic, settings.id_max_bytes)
            if self._topic.kind != kinds.STATE and self._topic.kind not in kinds.COMMANDS:
                self._node = nodes.node(device_of(session), self._topic, settings)
        except NotSparkplug as error:
            self._fault = error

    def judge(self, payload: bytes) -> Judged:
        """What is to become of the payload."""
        try:
            if self._fault is not None:
                raise self._fault
            return self._judged(payload)
        except NotSparkplug as error:
            if not self._said:
                self._said = True
                where = f"{self._topic.kind} of {self._topic.key}" if self._fault is None else "topic"
                _log.warning("misfit device=%s %s: to the dead letters: %s", device_of(self._session), where, error)
            return Judged(payload, faults_of("not-sparkplug", error), invalid=True)

    def take(self, judged: Judged, *, connected: bool) -> None:
        """The message is in the queue. `connected`: its client is; not where it is a will."""
        if self._node is not None and judged.step is not None:
            session, step = self._session, judged.step
            self._nodes.take(self._node, session, step, judged.state, self._settings, connected=connected)
        self._nodes.counts.invalid += judged.invalid

    def _judged(self, payload: bytes) -> Judged:
        if self._topic.kind == kinds.STATE:
            host_state(payload)
            return Judged(payload, _JSON if self._settings.json else ())
        message = parse_payload(payload)
        if self._node is None:
            return self._judged_command(payload, message)
        node, device = self._node, self._topic.device
        born = self._names_of_birth(node, message)
        names = born if born is not None else node.life.names_of(device)
        decoded = decode(message.metrics, names, self._bounds)
        step = node.life.judge(self._facts(message, born, strangers=bool(decoded.strangers)))
        judged = Judged(payload, step=step)
        if born is not None:
            judged.waits_for = self._nodes.keep(node, device, born)
        if names is not None and self._reports:
            judged.state = self._told(decoded.metrics, names, birth=born is not None)
        if self._settings.json:
            judged.payload = encode(record_of(self._topic, message, decoded.metrics, names, step.stale))
            judged.headers = _JSON
        return judged

    def _judged_command(self, payload: bytes, message: Any) -> Judged:
        """What a host application says to a node: only the node knows its aliases for certain."""
        metrics = decode(message.metrics, None, self._bounds).metrics
        if not self._settings.json:
            return Judged(payload)
        return Judged(encode(record_of(self._topic, message, metrics, None, None)), _JSON)

    def _told(self, metrics: list[Json], names: Names, *, birth: bool) -> State | None:
        """What of it is for the document."""
        state = _state(metrics)
        if birth:
            return {name: value for name, value in state.items() if value is not None}
        if self._settings.reported_interval is None:
            return None
        return {name: value for name, value in state.items() if name in names.by_name}

    def _names_of_birth(self, node: Node, message: Any) -> Names | None:
        if self._topic.kind not in kinds.BIRTHS:
            return None
        settings, life, device = self._settings, node.life, self._topic.device
        if device and device not in life.devices and len(life.devices) >= settings.devices_max:
            raise NotSparkplug(f"its edge node has {settings.devices_max} devices already")
        others = life.size - len(life.names_of(device) or ())
        most = settings.metrics_max - others
        return names_of_birth(message, metrics_max=most, name_max_bytes=settings.name_max_bytes)

    def _facts(self, message: Any, born: Names | None, *, strangers: bool) -> Facts:
        kind = self._topic.kind
        bd_seq = _bd_seq(message) if kind in (kinds.NBIRTH, kinds.NDEATH) else None
        return Facts(kind, self._topic.device, message.seq, bd_seq, born, strangers)


def _bd_seq(message: Any) -> int | None:
    """Which session of its node a message belongs to, if it says so."""
    for metric in message.metrics:
        if metric.name == _BD_SEQ and metric.WhichOneof("value") in ("int_value", "long_value"):
            return int(metric.long_value or metric.int_value)
    return None


def _state(metrics: list[Json]) -> State:
    """What holds now, by the metrics' names."""
    named = ((each.get("name"), each["value"]) for each in metrics if "historical" not in each)
    return {name: value for name, value in named if name and name != _BD_SEQ}
