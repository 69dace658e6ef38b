"""The way of a published message: permission, route, seal, record, append. The second time it is a dictionary look-up.

It acknowledges nothing itself: the token it appends with does, when the commit thread says that the record is on disk.
A message without a route has no disk to go to; it is delivered locally and acknowledged at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bridge.config import Limits
from bridge.device_side.broker import Broker
from bridge.device_side.clock import Clock
from bridge.device_side.command import id_of_result
from bridge.device_side.commands import Commands
from bridge.device_side.connection import Connection
from bridge.device_side.devices import BadPatch, Devices
from bridge.device_side.edge_nodes import EdgeNodes
from bridge.device_side.exchanges import Exchanges, ExchangesFull, TooManyExchanges
from bridge.device_side.faults import Faults, faults_of
from bridge.device_side.handshakes import Opened
from bridge.device_side.obstacle import Obstacle
from bridge.device_side.sparkplug_way import SparkplugWay
from bridge.device_side.trace_context import PARENT, STATE, Beginnings, Pairs, carried
from bridge.device_side.uplink import Lane, Token, Uplink
from bridge.device_side.way import Way
from bridge.log import record as rec
from bridge.log.errors import LogError, LogFull, RecordTooLarge
from bridge.message import Message
from bridge.mqtt.events import Event
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session_name import device_of
from bridge.mqtt.topics import REMEMBERED_MAX
from bridge.routing import Routing
from bridge.schemas.schema import UNAVAILABLE, Misfit, Pending, Schema
from bridge.security.acl import Acl
from bridge.security.device_seal import NotSealedError, SealedByDevice
from bridge.security.envelope import Seals

_log = logging.getLogger(__name__)
_NOT_TAKEN: Final = (LogFull, ExchangesFull, NotSealedError, RecordTooLarge, rec.RecordError, TooManyExchanges)
"""Why a record was not appended."""
_NO_FAULTS: Final[Faults] = ()
CONTENT_TYPE: Final = "content-type"


class Pipeline:
    """Takes messages from connections and brings them to the log, the documents and the local subscribers."""

    def __init__(
        self,
        acl: Acl,
        routing: Routing,
        sealers: Mapping[str, Seals],
        schemas: Mapping[str, Schema],
        uplink: Uplink,
        broker: Broker,
        clock: Clock,
        limits: Limits,
        random: Callable[[int], bytes],
    ) -> None:
        """Args:
        acl: who may publish where.
        routing: which route takes a topic.
        sealers: by the filter of a route that is not plain.
        schemas: by the filter of a route whose payloads are judged.
        uplink: the open lanes.
        broker: the local subscribers.
        clock: for the records' times.
        limits: bounds of what is remembered.
        random: as `os.urandom`; for traces that begin here.
        """
        self.exchanges = Exchanges(uplink, broker.exchanges, limits)
        """The QoS 2 exchanges that publications begin."""
        self.devices: Devices | None = None
        """Set where device documents are kept."""
        self.commands: Commands | None = None
        """Set where commands are taken."""
        self.edge_nodes: EdgeNodes | None = None
        """Set where a route is Sparkplug's."""
        self._acl = acl
        self._routing = routing
        self.sealers = sealers
        self._schemas = schemas
        self._uplink = uplink
        self._broker = broker
        self._clock = clock
        self._wall_ns, self._mono_ns = clock.wall_ns, clock.mono_ns
        self._remembered = limits.topics_remembered
        self._beginnings = Beginnings(random)
        first = self._beginnings.next()
        self._trace_name = rec.encode_headers(((PARENT, first),)).removesuffix(first)
        """What stands before the value of an encoded traceparent: they are all of one length."""

    def publish(self, connection: Connection, events: Sequence[Event], at: int) -> int:
        """Takes in the message `events[at]`, and those behind it that are like it; returns behind which.

        `at`: its lane takes nothing now, offer it again. The hot path: everything that depends on (device, topic) only
        is in the `Way`, and what a device sends in one go is one step for all of it.
        """
        message = events[at]
        assert type(message) is Message
        way = connection.ways.get(message.topic)
        if way is None:
            found = self._find(connection, message)
            if found is None:
                return at + 1
            way = found
        if way.version != self._broker.subscriptions.version:
            way.listened = bool(self._broker.subscriptions.match(message.topic))
            way.version = self._broker.subscriptions.version
        lane, account = way.lane, way.account
        if lane is None or account is None:
            self._tell(connection, message, in_log=False)
            return at + 1
        if lane.writer.behind(lane.pending_max):
            return at + self._wait(connection, message, lane)
        if account.bytes > lane.waiting.threshold and account.blocked:
            return at + self._wait(connection, message, account)
        if way.plain and message.qos < 2 and not (way.listened or message.retain or message.properties):
            return self._publish_run(connection, events, at, way, lane)
        return at + self._publish_one(connection, message, way, lane)

    def _publish_run(self, connection: Connection, events: Sequence[Event], at: int, way: Way, lane: Lane) -> int:
        """As `publish`, for a message that is written down as it came, and those that differ in payload and id only."""
        first = events[at]
        assert type(first) is Message
        assert way.account is not None
        topic, qos, dup, context, headers = first.topic, first.qos, first.dup, way.context, way.headers
        flags = qos | (rec.DUP if dup else 0) | (rec.CLOCK_SYNCHRONISED if self._clock.synchronised() else 0)
        wall_ns, mono_ns = self._wall_ns(), self._mono_ns()
        records: list[bytes] = []
        size = 0
        for each in events[at:] if at else events:
            if (
                type(each) is not Message
                or each.topic != topic
                or each.qos != qos
                or each.dup is not dup
                or each.retain
                or each.properties
            ):
                break
            record = rec.encode(rec.MESSAGE, flags, each.packet_id, wall_ns, mono_ns, context, headers, each.payload)
            if records and size + len(record) > lane.run_bytes:
                break
            records.append(record)
            size += len(record)
        end = at + len(records)
        try:
            lane.writer.append_run(records, size, (connection, events[at:end]) if qos else None)
        except _NOT_TAKEN as error:
            return at + self._not_taken(connection, first, lane, error)
        way.account.add(size)
        self._uplink.kick_soon()
        return end

    def _publish_one(self, connection: Connection, message: Message, way: Way, lane: Lane) -> bool:
        """Any other message. False: not now."""
        if way.reported:
            return self._report(connection, message, way, lane)
        payload, faults = message.payload, _NO_FAULTS
        if way.schema is not None:
            try:
                payload, faults = self._judged(way, way.schema, message)
            except Pending:
                connection.waits_for = lane
                return False
            except Misfit as error:
                self._refuse(connection, message, Reason.PAYLOAD_FORMAT_INVALID, str(error))
                return True
        token: Token | None = (connection, (message,)) if message.qos else None
        if way.listened or message.retain:
            token = self._deliver_when_durable(connection, message)
        try:
            self._append(way, lane, message, token, payload, faults)
        except _NOT_TAKEN as error:
            return self._not_taken(connection, message, lane, error)
        return True

    def _not_taken(self, connection: Connection, message: Message, lane: Lane, error: Exception) -> bool:
        """What is told of one of `_NOT_TAKEN`. False: as in `publish`."""
        if isinstance(error, LogFull):
            return self._wait(connection, message, lane)
        if isinstance(error, ExchangesFull):
            return self._wait(connection, message, self.exchanges.room)
        reason = Reason.PAYLOAD_FORMAT_INVALID if isinstance(error, NotSealedError) else Reason.QUOTA_EXCEEDED
        self._refuse(connection, message, reason, str(error))
        return True

    def repeat(self, connection: Connection, message: Message) -> None:
        """A QoS 2 message that the log had before a restart: local subscribers may have missed it, nobody else did."""
        self._tell(connection, message, in_log=True)

    def will(self, session: str, message: Message, done: Callable[[], object]) -> None:
        """Publishes the will of a client that is gone; `done` when it is on disk wherever it has to be."""
        device = device_of(session)
        if not self._acl.may_publish(device, message.topic):
            _log.warning("refused device=%s topic=%s: its will may not be published there", device, message.topic)
            done()
            return
        if (why := self.unsealed(device, message)) is not None:
            _log.warning("refused device=%s topic=%s: its will: %s", device, message.topic, why)
            done()
            return
        self._broker.publish(message, None)
        try:
            way = self._way(session, message.topic)
            if way.lane is not None and (way.sparkplug is not None or not way.reported):
                payload, faults = self._judged_will(way, message)
                self._append(way, way.lane, message, lambda: self._broker.when_kept(done), payload, faults)
                return
        except Misfit as error:
            _log.warning("refused device=%s topic=%s: its will: %s", device, message.topic, error)
        except (LogError, rec.RecordError) as error:
            _log.error("lost device=%s topic=%s: its will is not in the queue: %s", device, message.topic, error)
        self._broker.when_kept(done)

    def unsealed(self, device: str, will: Message) -> str | None:
        """Why a will is not sealed as its route requires; None: it is, or need not be. It may go to no disk before."""
        route = self._routing.route(device, will.topic)
        guard = None if route is None else self.sealers.get(route.filter)
        if isinstance(guard, SealedByDevice):
            try:
                guard.seal(device, will.topic, 0, will.payload, 0.0)
            except NotSealedError as error:
                return str(error)
        return None

    def _find(self, connection: Connection, message: Message) -> Way | None:
        """The way of a topic the connection has not used yet; None: it was refused."""
        assert connection.client is not None
        topic = message.topic
        decision = self._acl.publishing(connection.device, topic)
        if not decision.allowed:
            self._refuse(connection, message, Reason.NOT_AUTHORIZED, f"not allowed to publish there ({decision.rule})")
            return None
        try:
            way = self._way(connection.client.name, topic)
        except rec.RecordError as error:
            self._refuse(connection, message, Reason.TOPIC_NAME_INVALID, str(error))
            return None
        if len(topic) <= REMEMBERED_MAX:
            if len(connection.ways) >= self._remembered:
                connection.ways.clear()
            connection.ways[topic] = way
        return way

    def _wait(self, connection: Connection, message: Message, obstacle: Obstacle) -> bool:
        """False: the message is held until the obstacle is gone; MQTT 5 clients are told at length (0x97) instead."""
        tells = obstacle.tells(time.monotonic())
        if tells and message.qos and connection.session.version >= 5:
            connection.acknowledge(message, Reason.QUOTA_EXCEEDED)
            return True
        connection.waits_for = obstacle
        return False

    def _refuse(self, connection: Connection, message: Message, reason: Reason, why: str) -> None:
        device, peer = connection.device, connection.peer
        _log.warning("refused device=%s peer=%s topic=%.1024s: %s", device, peer, message.topic, why)
        connection.decline(message, reason)

    def _way(self, session: str, topic: str) -> Way:
        device = device_of(session)
        if self.devices is not None and topic == f"devices/{device}/state/reported":
            return Way(session, self.devices.lane, b"", None, reported=True)
        answers = id_of_result(device, topic) if self.commands is not None else None
        if answers is not None and self.devices is not None:
            way = Way(session, self.devices.lane, b"", None, reported=True)
            way.answers = answers
            return way
        route = self._routing.route(device, topic)
        if route is None:
            return Way(session, None, b"", None, reported=False)
        context = rec.encode_context(device, topic, route.topic)
        way = Way(session, self._uplink.lanes[route.lane], context, self.sealers.get(route.filter), reported=False)
        way.begins_trace = route.trace == "start"
        way.schema, way.refuses = self._schemas.get(route.filter), route.on_invalid == "refuse"
        if route.sparkplug is not None and self.edge_nodes is not None:
            reports = route.seal == "plain" if route.sparkplug.report is None else route.sparkplug.report
            way.sparkplug = SparkplugWay(session, topic, route.sparkplug, self.edge_nodes, reports=reports)
            way.reported = True
        way.plain = not (way.reported or way.begins_trace or way.schema or way.sealer)
        return way

    def _judged(self, way: Way, schema: Schema, message: Message) -> tuple[bytes, Faults]:
        """The payload as it goes on, and what makes a dead letter of it, if anything. Raises Misfit, Pending.

        What nobody can judge now is not refused: the device would throw away what may be right.
        """
        try:
            return schema.fit(message.payload), _NO_FAULTS
        except Misfit as error:
            if way.refuses and error.error != UNAVAILABLE:
                raise
            if not way.misfit_said:
                way.misfit_said = True
                _log.warning("misfit device=%s topic=%s: to the dead letters: %s", way.device, message.topic, error)
            return message.payload, faults_of(error.error, error)

    def _judged_will(self, way: Way, message: Message) -> tuple[bytes, Faults]:
        """As `_judged`; a will cannot wait, for nobody would say it again."""
        if way.sparkplug is not None:
            judged = way.sparkplug.judge(message.payload)
            way.sparkplug.take(judged, connected=False)
            return judged.payload, judged.headers
        try:
            return self._judged(way, way.schema, message) if way.schema is not None else (message.payload, _NO_FAULTS)
        except Pending:
            return message.payload, faults_of(UNAVAILABLE, "its schema was not known yet")

    def _append(
        self, way: Way, lane: Lane, message: Message, token: Token | None, payload: bytes, faults: Faults
    ) -> None:
        if way.sealer is not None:
            pairs, payload = way.sealer.seal(way.device, message.topic, lane.writer.next_seq, payload, time.monotonic())
            if pairs is not way.seal_pairs:
                way.seal_pairs, way.pairs = pairs, (*way.named, *pairs)
                way.headers = rec.encode_headers(way.pairs)
        headers = way.headers
        if message.properties or faults:
            own = self._headers(way, message.properties or {})
            if faults and faults[0][0] == CONTENT_TYPE:  # the value is not what the device called its payload
                own = [pair for pair in own if pair[0] != CONTENT_TYPE]
            headers = rec.encode_headers((*way.pairs, *own, *faults))
        elif way.begins_trace:
            headers += self._trace_name + self._beginnings.next()
        flags = message.qos | (rec.RETAIN if message.retain else 0) | (rec.DUP if message.dup else 0)
        if self._clock.synchronised():
            flags |= rec.CLOCK_SYNCHRONISED
        effect: Opened | None = None
        if message.qos == 2 and message.packet_id:
            effect = self.exchanges.opening(way.session, message.packet_id)
        record = rec.encode(
            rec.MESSAGE, flags, message.packet_id, self._wall_ns(), self._mono_ns(), way.context, headers, payload
        )
        lane.append(record, token, effect)
        if way.account is not None:
            way.account.add(len(record))
        if effect is not None:
            self.exchanges.opened(effect, lane)
        self._uplink.kick_soon()

    def _headers(self, way: Way, properties: Mapping[int, object]) -> Pairs:
        """What of a message's MQTT 5 properties its reader in Kafka sees (docs/kafka-records.md)."""
        pairs: Pairs = []
        content_type = properties.get(Property.CONTENT_TYPE)
        if isinstance(content_type, str):
            pairs.append((CONTENT_TYPE, content_type.encode()))
        parents: list[str] = []
        states: list[str] = []
        users = properties.get(Property.USER_PROPERTY)
        if isinstance(users, (list, tuple)):
            for name, value in users:
                if name == PARENT:
                    parents.append(value)
                elif name == STATE:
                    states.append(value)
                else:
                    pairs.append((f"user-{name}", value.encode()))
        trace = carried(parents, states) if parents else []
        if not trace and way.begins_trace:
            trace = [(PARENT, self._beginnings.next())]
        return pairs + trace

    def _report(self, connection: Connection, message: Message, way: Way, lane: Lane) -> bool:
        """A device's reported state: to its document, which the state lane makes durable. False: as in `publish`."""
        if way.sparkplug is not None:
            return self._take_sparkplug(connection, message, way, lane, way.sparkplug)
        packet_id = message.packet_id if message.qos == 2 else 0
        done = self._deliver_when_durable(connection, message)
        before = lane.writer.appended_bytes
        try:
            effect = self.exchanges.opening(way.session, packet_id) if packet_id else None
            if way.answers is None:
                assert self.devices is not None
                self.devices.report(way.device, message.payload, done, packet_id=packet_id, effect=effect)
            elif not self._answer(way, connection, message, packet_id, effect):
                connection.acknowledge(message)
                return True
        except LogFull:
            return self._wait(connection, message, lane)
        except ExchangesFull:
            return self._wait(connection, message, self.exchanges.room)
        except TooManyExchanges as error:
            self._refuse(connection, message, Reason.QUOTA_EXCEEDED, str(error))
            return True
        except (BadPatch, RecordTooLarge) as error:
            self._refuse(connection, message, Reason.PAYLOAD_FORMAT_INVALID, str(error))
            return True
        if way.account is not None:
            way.account.add(lane.writer.appended_bytes - before)
        if effect is not None:
            self.exchanges.opened(effect, lane)
        return True

    def _take_sparkplug(
        self, connection: Connection, message: Message, way: Way, lane: Lane, sparkplug: SparkplugWay
    ) -> bool:
        """As `publish`, for what edge nodes and their hosts say; local subscribers get the payload as it is."""
        judged = sparkplug.judge(message.payload)
        if judged.waits_for is not None:
            return self._wait(connection, message, judged.waits_for)
        token: Token | None = (connection, (message,)) if message.qos else None
        if way.listened or message.retain:
            token = self._deliver_when_durable(connection, message)
        try:
            self._append(way, lane, message, token, judged.payload, judged.headers)
        except _NOT_TAKEN as error:
            return self._not_taken(connection, message, lane, error)
        sparkplug.take(judged, connected=True)
        return True

    def _answer(
        self, way: Way, connection: Connection, message: Message, packet_id: int, effect: Opened | None
    ) -> bool:
        """A device's answer to a command, acknowledged when it is durable; nobody else gets it. False: not waited for.

        Raises as `Commands.result`.
        """
        assert self.commands is not None
        assert way.answers is not None

        def done() -> None:
            if message.qos:
                connection.acknowledge(message)

        if self.commands.result(way.device, way.answers, message.payload, done, packet_id=packet_id, effect=effect):
            return True
        _log.info("command device=%s id=%s: answered, and nobody waits for it", way.device, way.answers)
        return False

    def _deliver_when_durable(self, connection: Connection, message: Message) -> Callable[[], None]:
        """Local subscribers hear of a message after the disk: a crash between the two cannot tell them twice."""
        return lambda: self._tell(connection, message, in_log=True)

    def _tell(self, connection: Connection, message: Message, *, in_log: bool) -> None:
        assert connection.client is not None
        self._broker.tell(message, connection.client, lambda: connection.acknowledge(message), in_log=in_log)
