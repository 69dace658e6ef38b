"""The front desk: what becomes of each event of a connection but a publication, which is the pipeline's.

Here a client is let in or turned away, its session found, its presence told. Every refusal is one log line that says
who and why.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from bridge.config import Config
from bridge.device_side.arrival import arrival_of
from bridge.device_side.broker import TAKEN_OVER, Broker, Client, assigned_client_id
from bridge.device_side.clock import Clock
from bridge.device_side.connection import LEFT, LOST, Connection
from bridge.device_side.devices import Devices
from bridge.device_side.doorman import Doorman, Refusal
from bridge.device_side.listener import Admitted
from bridge.device_side.memory_watch import MemoryWatch
from bridge.device_side.meter import Meters
from bridge.device_side.pipeline import Pipeline
from bridge.device_side.rates import Rates
from bridge.device_side.sealers import Sealers
from bridge.device_side.sys_topics import SysTopics
from bridge.device_side.units import Units
from bridge.device_side.wills import Wills
from bridge.mqtt.events import (
    ConnectRequested,
    Disconnected,
    Event,
    Released,
    Repeated,
    SubscribeRequested,
    UnsubscribeRequested,
)
from bridge.mqtt.reasons import Reason
from bridge.mqtt.subscription import Subscription
from bridge.security.acl import Acl

_log = logging.getLogger(__name__)
REVOKED = "revoked"
GATEWAY_STOPPED = "gateway-stopped"
KEEPALIVE = "keepalive"
_NOT_ITS_FAULT = (
    Reason.SERVER_SHUTTING_DOWN,
    Reason.SERVER_UNAVAILABLE,
    Reason.SERVER_BUSY,
    Reason.QUOTA_EXCEEDED,
    Reason.CONNECTION_RATE_EXCEEDED,
)
_SWEEP_S = 1.0
_REVIEW_S = 60.0
_KEEP_S = 0.1


class FrontDesk:
    """Owns the connections: the daemon's side of `connection.Owner`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        broker: Broker,
        pipeline: Pipeline,
        devices: Devices | None,
        clock: Clock,
        wills: Wills,
        acl: Acl,
        units: Units,
        rates: Rates,
        doorman: Doorman,
    ) -> None:
        """Args:
        loop: the process's event loop.
        config: limits of connections.
        broker: clients and subscriptions.
        pipeline: takes publications.
        devices: the documents; None where no state topic is configured.
        clock: for the presence's last_seen.
        wills: what clients leave.
        acl: judges wills when they are left.
        units: what their certificates say beside their names.
        rates: hears of those that are turned away for what they said.
        doorman: knows who those are that show no certificate.
        """
        self.loop = loop
        self.connections: set[Connection] = set()
        self._admitted: dict[Connection, Admitted] = {}
        """Those that came where somebody is asked who he is."""
        self.publish = pipeline.publish
        self._limits = config.limits
        self._broker = broker
        self._pipeline = pipeline
        self._devices = devices
        self._clock = clock
        self._wills = wills
        self._acl = acl
        self._units = units
        self._rates = rates
        self._doorman = doorman
        self.meters = Meters(config.limits, loop.time)
        """What devices may send."""
        self.memory = MemoryWatch(config.limits.memory, self.connections)
        self._gone: Counter[str] = Counter()
        """Traffic of the connections that have ended, and how many there ever were."""
        self._to_flush: list[Connection] = []
        self._held: dict[Connection, None] = {}
        self._stopping = False
        self._review_at = loop.time() + _REVIEW_S
        self._handlers: dict[type, Callable[[Connection, Any], bool]] = {
            ConnectRequested: self._connect,
            Released: self._released,
            Repeated: self._repeated,
            SubscribeRequested: self._subscribe,
            UnsubscribeRequested: self._unsubscribe,
            Disconnected: self._disconnected,
        }

    def add(self, connection: Connection, admitted: Admitted | None = None) -> None:
        """A new connection, before its CONNECT; `admitted` where it has to show who it is."""
        self.connections.add(connection)
        self._gone["sockets"] += 1
        if admitted is not None:
            self._admitted[connection] = admitted
        connection.start()

    def handle(self, connection: Connection, event: Event) -> bool:
        """One event; False: not now, the connection offers it again."""
        handled = self._handlers[type(event)](connection, event)
        connection.events -= handled  # what is left are messages
        return handled

    def flush_soon(self, connection: Connection) -> None:
        """All that one turn of the loop produced for a connection goes out in one write."""
        if not self._to_flush:
            self.loop.call_soon(self.flush)
        self._to_flush.append(connection)

    def flush(self) -> None:
        """Sends what connections have to say."""
        connections, self._to_flush = self._to_flush, []
        for connection in connections:
            connection.flush()

    def hold(self, connection: Connection) -> None:
        """It has something the pipeline could not take, or the doorman does not know it yet and will resume it."""
        if not self._doorman.waits(connection):
            self._held[connection] = None

    def resume_held(self) -> None:
        """After a commit or a relief: connections whose lane takes records again go on, the longest held first.

        So do those whose client is to hear that it does not.
        """
        if not self._held:
            return
        held, self._held = self._held, {}
        waited = {each for each in {connection.waits_for for connection in held} if each is not None}
        now, full = time.monotonic(), {each for each in waited if each.blocked}
        told = {each for each in full if each.tells(now)}
        for each in waited - full:
            each.look(now)
        for connection in held:
            if connection.closed:
                continue  # by what an earlier one of these said
            obstacle = connection.waits_for
            if obstacle in full and not (obstacle in told and connection.refusable):
                self._held[connection] = None
            else:
                connection.resume()

    def closed(self, connection: Connection, reason: str, *, will: bool) -> None:
        """A connection ended: its client goes, its will is published, its presence changes."""
        self.connections.discard(connection)
        self._admitted.pop(connection, None)
        for name, count in _traffic(connection).items():
            self._gone[name] += count
        self._held.pop(connection, None)
        self._doorman.forget(connection)
        client = connection.client
        if client is None:
            if reason == LOST:
                _log.info("gone peer=%s before CONNECT", connection.peer)
            return
        if client.connection is not connection:
            return
        _log.info("gone device=%s peer=%s reason=%s", client.device, connection.peer, reason)
        last_will = client.will if will else None
        session_over = self._broker.left(client)
        if last_will is None:
            self._wills.discarded(client.device)
        else:
            self._wills.left(client.device, last_will, self.loop.time(), session_over=session_over)
        if session_over:
            self._units.forget(client.device)
        if self._devices is not None and reason != TAKEN_OVER:
            idle_ns = int((self.loop.time() - connection.last_received) * 1e9)
            self._devices.offline(client.device, reason, self._clock.wall_ns() - idle_ns)

    def review(self) -> None:
        """Ends the connections of devices that would not get in any more. What they had acknowledged stays."""
        now_s = self._clock.wall_ns() / 1e9
        for connection, admitted in list(self._admitted.items()):
            objection = admitted.objection(now_s)
            if objection is not None:
                _log.warning("ended device=%s peer=%s: %s", admitted.device, connection.peer, objection)
                connection.dismiss(Reason.NOT_AUTHORIZED, why=REVOKED)
                connection.end()

    def narrow(self) -> None:
        """The ACL has changed: subscriptions that it does not allow any more end, the next message is judged anew."""
        for connection in self.connections:
            connection.ways.clear()
        for client in self._broker.clients.values():
            self._narrow(client)

    def _narrow(self, client: Client) -> None:
        for topic_filter in self._broker.narrow(client):
            _log.warning("ended device=%s: its subscription %s is not allowed any more", client.device, topic_filter)

    def seal_with(self, sealers: Sealers) -> None:
        """Payloads are sealed with these from now on."""
        self._pipeline.sealers = sealers
        for connection in self.connections:
            connection.ways.clear()

    async def sweep(self) -> None:
        """Every second: keep-alives, CONNECTs that do not come, sessions that are over. Runs until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = self.loop.time()
            if now >= self._review_at:  # (a certificate may have expired)
                self._review_at = now + _REVIEW_S
                self.review()
            for connection in list(self.connections):
                self._sweep_one(connection, now)
            self.memory.look()
            self._wills.publish_due(now)
            for client_id in self._broker.expire():
                self._wills.session_over(client_id)
                self._pipeline.exchanges.abandon(client_id)
                self._units.forget(client_id)

    async def tell_figures(self, topics: SysTopics, interval_s: float) -> None:
        """Has `$SYS/broker/…` say how things are. Runs until cancelled."""
        while True:
            topics.tell(self.loop.time(), self.traffic())
            await asyncio.sleep(interval_s)

    def traffic(self) -> Counter[str]:
        """Of all connections since the start, by the names of `SysTopics`."""
        traffic = self._gone.copy()
        for connection in self.connections:
            traffic.update(_traffic(connection))
        return traffic

    async def keep_messages(self) -> None:
        """Ten times a second: what clients that come back have to be sent goes to disk. Runs until cancelled."""
        while True:
            await asyncio.sleep(_KEEP_S)
            self._broker.keep_messages()

    def stop(self) -> None:
        """Says good-bye to every client; nothing more is taken in."""
        self._stopping = True
        for connection in list(self.connections):
            connection.dismiss(Reason.SERVER_SHUTTING_DOWN, why=GATEWAY_STOPPED, will=False)
            connection.close(GATEWAY_STOPPED, will=False)

    def _sweep_one(self, connection: Connection, now: float) -> None:
        if connection.session.closed:
            connection.end()  # it had a second to read our last words
        elif connection.client is None and now - connection.opened > self._limits.connect_timeout:
            late = "its old session could not be cleared" if connection.held else "no CONNECT"
            late = "its password or token was not verified" if self._doorman.waits(connection) else late
            _log.warning("refused peer=%s: %s within %g s", connection.peer, late, self._limits.connect_timeout)
            connection.close(LEFT, will=False)
        elif (
            connection.session.expired(now)
            and not (connection.held or connection.paused)
            and now - connection.last_received > _SWEEP_S
        ):
            # (one that was held until just now has not been read yet)
            connection.dismiss(Reason.KEEP_ALIVE_TIMEOUT, why=KEEPALIVE)
        elif connection.looked != connection.last_received and now - connection.last_received > _SWEEP_S:
            connection.look()

    def _connect(self, connection: Connection, event: ConnectRequested) -> bool:
        admitted = self._admitted.get(connection)
        known = self._known(connection, event, admitted)
        if known is None:
            return False
        self._gone["connections"] += 1
        client_id = connection.identity or event.client_id or assigned_client_id()
        units = admitted.units if admitted is not None else ()
        refusal = known or self._refusal(connection, event, client_id, admitted)
        if refusal is not None:
            reason, why = refusal
            _log.warning("refused device=%s peer=%s: %s", connection.identity or client_id, connection.peer, why)
            if reason not in _NOT_ITS_FAULT:
                self._rates.failed(connection.host)
            connection.session.refuse(reason)
            connection.farewell("refused")
            return True
        if not self._broker.will_resume(event, client_id) and not self._pipeline.exchanges.can_reset(client_id):
            return False
        client, present = self._broker.open_session(event, client_id)
        if present:
            self._units.enrol(client_id, units)
            self._wills.resumed(client_id)
            self._narrow(client)  # (its certificate may be another)
        else:
            self._wills.session_over(client_id)  # judged by what its own certificate said
            self._units.enrol(client_id, units)
        self._wills.connected(client_id, event.will)
        client.called = event.client_id or client_id
        client.connection, connection.client, connection.device = connection, client, client.device
        connection.meter = self.meters.of(connection.identity or client.device)

        def admit() -> None:
            if client.connection is connection and not connection.closed:
                self._admit(connection, client, event, present=present)

        def stored() -> None:
            self.loop.call_soon_threadsafe(admit)

        def reset_durable() -> None:
            if event.expiry_s:
                self._broker.keep(client, stored)
            else:
                self._broker.when_stored(stored)

        if not present:
            self._pipeline.exchanges.reset(client_id, reset_durable)
        elif event.expiry_s and event.will is None:
            admit()
        else:
            # A will is on disk by then; and a session that ends with its connection now is not brought back by a kill.
            self._broker.when_stored(stored)
        return True

    def _known(
        self, connection: Connection, event: ConnectRequested, admitted: Admitted | None
    ) -> tuple[Reason, str] | tuple[()] | None:
        """Why nobody knows who that is, in which case it is refused; (): it is known; None: not yet."""
        if admitted is None or admitted.device is not None:
            return ()
        found = self._doorman.ask(connection, event, admitted.listener)
        if found is None:
            return None
        if isinstance(found, Refusal):
            return found.reason, found.why
        admitted.proof, connection.identity = found, found.device
        often = self._rates.device(found.device)
        return (Reason.CONNECTION_RATE_EXCEEDED, often[1]) if often is not None else ()

    def _refusal(
        self, connection: Connection, event: ConnectRequested, client_id: str, admitted: Admitted | None
    ) -> tuple[Reason, str] | None:
        """Why this CONNECT is turned away; None: it is not."""
        if self._stopping:
            return Reason.SERVER_SHUTTING_DOWN, "the gateway is stopping"
        if admitted is not None and not _fits(event.client_id, admitted):
            why = f"its client id {event.client_id!r} is not its {admitted.by}'s {connection.identity!r}"
            return Reason.CLIENT_IDENTIFIER_NOT_VALID, why
        if admitted is not None and admitted.listener.second_connection == "refused":
            standing = self._broker.clients.get(client_id)
            if standing is not None and standing.connection and standing.called != (event.client_id or client_id):
                return Reason.QUOTA_EXCEEDED, f"the device is connected already, with the client id {standing.called!r}"
        if not event.client_id and event.version < 5 and not event.clean_start:
            return Reason.CLIENT_IDENTIFIER_NOT_VALID, "no client id and no clean session [MQTT-3.1.3-8]"
        if not self._broker.has_room(client_id):
            return Reason.QUOTA_EXCEEDED, f"{self._limits.sessions} clients are known already"
        return self._will_refusal(event, client_id, admitted.units if admitted is not None else ())

    def _will_refusal(self, event: ConnectRequested, client_id: str, units: Sequence[str]) -> tuple[Reason, str] | None:
        """A will that could not be published is refused while there is somebody to be told (MQTT5 §3.2.2.2)."""
        if event.will is None:
            return None
        topic = event.will.message.topic
        decision = self._acl.publishing(client_id, topic, self._acl.roles(client_id, units))
        if not decision.allowed:
            return Reason.NOT_AUTHORIZED, f"its will may not be published on {topic} ({decision.rule})"
        why = self._pipeline.unsealed(client_id, event.will.message)
        return None if why is None else (Reason.PAYLOAD_FORMAT_INVALID, f"its will: {why}")

    def _admit(self, connection: Connection, client: Client, event: ConnectRequested, *, present: bool) -> None:
        """CONNACK, now that what it promises is durable; then what waited for the client and what it sent meanwhile."""
        now = self.loop.time()
        connection.session.accept(client.state, present=present, now=now, assigned_client_id=not event.client_id)
        version = {3: "3.1", 4: "3.1.1"}.get(event.version, "5")
        _log.info("connected device=%s peer=%s mqtt=%s session=%s", client.device, connection.peer, version, present)
        if self._devices is not None:
            self._devices.online(client.device, arrival_of(connection.peer, event.version, resumed=present))
        if self._pipeline.commands is not None:
            self._pipeline.commands.send(client.device)
        connection.resume()

    def _released(self, connection: Connection, event: Released) -> bool:
        return self._pipeline.exchanges.released(connection, event.packet_id)

    def _repeated(self, connection: Connection, event: Repeated) -> bool:
        self._pipeline.repeat(connection, event.message)
        return True

    def _subscribe(self, connection: Connection, event: SubscribeRequested) -> bool:
        client = connection.client
        assert client is not None
        known = set(client.state.subscriptions)
        reasons = self._broker.subscribe(client, event)
        for subscription, reason in zip(event.subscriptions, reasons, strict=True):
            if reason == Reason.NOT_AUTHORIZED:
                rule, wanted = self._acl.subscribing(client.device, subscription.filter).rule, subscription.filter
                why = f"not allowed to subscribe to {wanted} ({rule})"
                _log.warning("refused device=%s peer=%s: %s", client.device, connection.peer, why)
        fresh = [
            subscription
            for subscription, reason in zip(event.subscriptions, reasons, strict=True)
            if reason < Reason.UNSPECIFIED_ERROR and _wants_retained(subscription, existed=subscription.filter in known)
        ]

        def answer() -> None:
            connection.session.subscribed(event.packet_id, reasons)
            if client.connection is connection:
                self._broker.send_retained(client, fresh)
                if self._pipeline.commands is not None:
                    self._pipeline.commands.send(client.device)
            connection.flush_soon()

        self._when_kept(client, answer)
        return True

    def _unsubscribe(self, connection: Connection, event: UnsubscribeRequested) -> bool:
        client = connection.client
        assert client is not None
        reasons = self._broker.unsubscribe(client, event)

        def answer() -> None:
            connection.session.unsubscribed(event.packet_id, reasons)
            connection.flush_soon()

        self._when_kept(client, answer)
        return True

    def _when_kept(self, client: Client, answer: Callable[[], None]) -> None:
        """Answers once the session is on disk as the answer says it is, if it is to outlive the connection."""
        if client.state.expiry_s:
            self._broker.keep(client, lambda: self.loop.call_soon_threadsafe(answer))
        else:
            answer()

    def _disconnected(self, connection: Connection, event: Disconnected) -> bool:
        if not event.by_client:
            who = connection.device or connection.identity or "?"
            _log.warning("refused device=%s peer=%s: %s (0x%02X)", who, connection.peer, event.text, event.reason)
            if connection.client is None:
                self._rates.failed(connection.host)
        return True


def _traffic(connection: Connection) -> dict[str, int]:
    """By the names of `SysTopics`."""
    return {
        "bytes/received": connection.bytes_received,
        "bytes/sent": connection.bytes_sent,
        "publish/messages/received": connection.events,
        "messages/received": connection.events + connection.session.packets_received,
        "messages/sent": connection.session.packets_sent,
    }


def _fits(client_id: str, admitted: Admitted) -> bool:
    """Whether the client id is one that the listener takes from this device; none at all is."""
    device, rule = admitted.device, admitted.listener.client_id
    return (
        not client_id
        or rule == "any"
        or client_id == device
        or (rule == "prefix" and client_id.startswith(device or ""))
    )


def _wants_retained(subscription: Subscription, *, existed: bool) -> bool:
    """MQTT5 §3.8.3.1, Retain Handling."""
    return subscription.retain_handling == 0 or (subscription.retain_handling == 1 and not existed)
