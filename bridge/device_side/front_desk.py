"""The front desk: owns the connections; each event of one but a publication, which is the pipeline's, comes by here.

CONNECT goes on to the registrar. Here connections are held and resumed, watched, and said good-bye to.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from bridge.config import Config
from bridge.device_side.broker import Broker, Client
from bridge.device_side.clock import Clock
from bridge.device_side.connection import LEFT, LOST, Connection
from bridge.device_side.doorman import Doorman
from bridge.device_side.flight_watch import FlightWatch
from bridge.device_side.listener import Admitted
from bridge.device_side.memory_watch import MemoryWatch
from bridge.device_side.pipeline import Pipeline
from bridge.device_side.presences import Presences
from bridge.device_side.rates import Rates
from bridge.device_side.registrar import Registrar
from bridge.device_side.rights import Rights
from bridge.device_side.sealers import Sealers
from bridge.device_side.sys_topics import SysTopics
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

_log = logging.getLogger(__name__)
REVOKED = "revoked"
GATEWAY_STOPPED = "gateway-stopped"
KEEPALIVE = "keepalive"
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
        registrar: Registrar,
        presences: Presences,
        clock: Clock,
        wills: Wills,
        rights: Rights,
        rates: Rates,
        doorman: Doorman,
    ) -> None:
        """Args:
        loop: the process's event loop.
        config: limits of connections.
        broker: clients and subscriptions.
        pipeline: takes publications.
        registrar: lets clients in.
        presences: hears who goes.
        clock: says whether a certificate has expired.
        wills: what clients leave.
        rights: of those that are in.
        rates: hears of those that are turned away for what they said.
        doorman: says who waits for him.
        """
        self.loop = loop
        self.connections: set[Connection] = set()
        self._admitted: dict[Connection, Admitted] = {}
        """Those that came where somebody is asked who he is."""
        self.publish = pipeline.publish
        self._limits = config.limits
        self._broker = broker
        self._pipeline = pipeline
        self._registrar = registrar
        self._presences = presences
        self._clock = clock
        self._wills = wills
        self._rights = rights
        self._rates = rates
        self._doorman = doorman
        self.meters = registrar.meters
        """What devices may send."""
        self.memory = MemoryWatch(config.limits.memory, self.connections)
        self._flights = FlightWatch(config.limits.inflight_bytes, broker.clients)
        self._gone: Counter[str] = Counter()
        """Traffic of the connections that have ended, and how many sockets there ever were."""
        self._to_flush: list[Connection] = []
        self._held: dict[Connection, None] = {}
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
        last_will, client.will = client.will if will else None, None
        session_over = self._broker.left(client)
        if last_will is None:
            self._wills.discarded(client.name)
        else:
            self._wills.left(client.name, last_will, self.loop.time(), session_over=session_over)
        if session_over:
            self._rights.session_over(client.device)
        if self._pipeline.edge_nodes is not None:
            self._pipeline.edge_nodes.left(client.name, reason)
        self._presences.left(client, connection, reason)

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
        """The ACL has changed."""
        self._rights.changed(self.connections)

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
            self._flights.look()
            self._wills.publish_due(now)
            for name in self._broker.expire():
                self._registrar.session_over(name)

    async def tell_figures(self, topics: SysTopics, interval_s: float) -> None:
        """Has `$SYS/broker/…` say how things are. Runs until cancelled."""
        while True:
            topics.tell(self.loop.time(), self.traffic())
            await asyncio.sleep(interval_s)

    def traffic(self) -> Counter[str]:
        """Of all connections since the start, by the names of `SysTopics`."""
        traffic = self._gone + Counter(connections=self._registrar.asked)
        for connection in self.connections:
            traffic.update(_traffic(connection))
        return traffic

    def by_authority(self) -> Counter[str]:
        """Connections by the CA of their certificates."""
        return Counter(each.authority for each in self._admitted.values() if each.authority is not None)

    async def keep_messages(self) -> None:
        """Ten times a second: what clients that come back have to be sent goes to disk. Runs until cancelled."""
        while True:
            await asyncio.sleep(_KEEP_S)
            self._broker.keep_messages()

    def stop(self) -> None:
        """Says good-bye to every client; nothing more is taken in."""
        self._registrar.stopping = True
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
        return self._registrar.connect(connection, event, self._admitted.get(connection))

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
                rule, wanted = self._rights.rule(client.device, subscription.filter), subscription.filter
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


def _wants_retained(subscription: Subscription, *, existed: bool) -> bool:
    """MQTT5 §3.8.3.1, Retain Handling."""
    return subscription.retain_handling == 0 or (subscription.retain_handling == 1 and not existed)
