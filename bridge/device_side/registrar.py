"""The registrar: from CONNECT to CONNACK. Who it is, whether it is let in, which session is its own.

A device has a session for each client id that its listener takes from it; what it is bound to, and what of it lasts,
is the session's. Every refusal is one log line that says who and why.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence

from bridge.config import Limits, Listener
from bridge.device_side.arrival import arrival_of
from bridge.device_side.broker import Broker, Client, assigned_client_id, take_over
from bridge.device_side.connection import Connection
from bridge.device_side.doorman import Doorman, Refusal
from bridge.device_side.listener import Admitted
from bridge.device_side.meter import Meters
from bridge.device_side.pipeline import Pipeline
from bridge.device_side.presences import Presences
from bridge.device_side.rates import Rates
from bridge.device_side.rights import Rights
from bridge.device_side.wills import Wills
from bridge.mqtt.events import ConnectRequested
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session_name import client_id_of, device_of, session_name
from bridge.security.acl import Acl

_log = logging.getLogger(__name__)
_NOT_ITS_FAULT = (
    Reason.SERVER_SHUTTING_DOWN,
    Reason.SERVER_UNAVAILABLE,
    Reason.SERVER_BUSY,
    Reason.QUOTA_EXCEEDED,
    Reason.CONNECTION_RATE_EXCEEDED,
)
_VERSIONS = {3: "3.1", 4: "3.1.1"}


class Registrar:
    """One for the daemon."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        broker: Broker,
        pipeline: Pipeline,
        presences: Presences,
        wills: Wills,
        acl: Acl,
        rights: Rights,
        rates: Rates,
        doorman: Doorman,
    ) -> None:
        """Args:
        loop: the process's event loop.
        limits: of sessions, and of what devices may send.
        broker: clients and their sessions.
        pipeline: ends the QoS 2 exchanges of sessions that are over.
        presences: hears who is let in.
        wills: what clients leave.
        acl: judges wills.
        rights: what their certificates say beside their names.
        rates: hears of those that are turned away for what they said.
        doorman: knows who those are that show no certificate.
        """
        self.stopping = False
        """Nobody is let in any more."""
        self.meters = Meters(limits, loop.time)
        """What devices may send."""
        self.asked = 0
        """How often somebody wanted to be let in."""
        self._loop = loop
        self._limits = limits
        self._broker = broker
        self._pipeline = pipeline
        self._presences = presences
        self._wills = wills
        self._acl = acl
        self._rights = rights
        self._rates = rates
        self._doorman = doorman

    def connect(self, connection: Connection, event: ConnectRequested, admitted: Admitted | None) -> bool:
        """CONNECT, by somebody who was `admitted` if he had to show who he is; False: not now, it is offered again."""
        known = self._known(connection, event, admitted)
        if known is None:
            return False
        self.asked += 1
        client_id = _client_id(connection.identity, event.client_id, admitted)
        device = connection.identity or client_id
        name = session_name(device, client_id)
        units = admitted.units if admitted is not None else ()
        refusal = known or self._refusal(connection, event, device, name, admitted)
        if refusal is not None:
            self._turn_away(connection, device, *refusal)
            return True
        if not self._broker.will_resume(event, name) and not self._pipeline.exchanges.can_reset(name):
            return False
        if admitted is not None:
            self._make_room(device, name, admitted.listener)
        client, present = self._broker.open_session(event, name)
        if present:
            self._wills.resumed(name)
        else:
            self._wills.session_over(name)  # judged by what its own certificate said
        self._rights.came(client, units)
        self._wills.connected(name, event.will)
        client.connection, connection.client, connection.device = connection, client, device
        connection.meter = self.meters.of(device)
        self._admit_when_durable(connection, client, event, present=present)
        return True

    def session_over(self, name: str) -> None:
        """The time of a session that was alone is over."""
        self._wills.session_over(name)
        self._pipeline.exchanges.abandon(name)
        self._rights.session_over(device_of(name))

    def _turn_away(self, connection: Connection, device: str, reason: Reason, why: str) -> None:
        _log.warning("refused device=%s peer=%s: %s", device, connection.peer, why)
        if reason not in _NOT_ITS_FAULT:
            self._rates.failed(connection.host)
        connection.session.refuse(reason)
        connection.farewell("refused")

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
        self, connection: Connection, event: ConnectRequested, device: str, name: str, admitted: Admitted | None
    ) -> tuple[Reason, str] | None:
        """Why this CONNECT is turned away; None: it is not."""
        if self.stopping:
            return Reason.SERVER_SHUTTING_DOWN, "the gateway is stopping"
        if admitted is not None and not _fits(event.client_id, admitted):
            why = f"its client id {event.client_id!r} is not its {admitted.by}'s {connection.identity!r}"
            return Reason.CLIENT_IDENTIFIER_NOT_VALID, why
        if admitted is not None and admitted.listener.second_connection == "refused":
            standing = self._standing(device, name)
            if admitted.listener.client_id != "match" and len(standing) >= admitted.listener.connections_per_identity:
                others = ", ".join(repr(client_id_of(each.name)) for each in standing)
                return Reason.QUOTA_EXCEEDED, f"the device is connected already, with the client ids {others}"
        if not event.client_id and event.version < 5 and not event.clean_start:
            return Reason.CLIENT_IDENTIFIER_NOT_VALID, "no client id and no clean session [MQTT-3.1.3-8]"
        if not self._broker.has_room(name):
            return Reason.QUOTA_EXCEEDED, f"{self._limits.sessions} clients are known already"
        return self._will_refusal(event, device, admitted.units if admitted is not None else ())

    def _will_refusal(self, event: ConnectRequested, device: str, units: Sequence[str]) -> tuple[Reason, str] | None:
        """A will that could not be published is refused while there is somebody to be told (MQTT5 §3.2.2.2)."""
        if event.will is None:
            return None
        topic = event.will.message.topic
        decision = self._acl.publishing(device, topic, self._acl.roles(device, units))
        if not decision.allowed:
            return Reason.NOT_AUTHORIZED, f"its will may not be published on {topic} ({decision.rule})"
        why = self._pipeline.unsealed(device, event.will.message)
        return None if why is None else (Reason.PAYLOAD_FORMAT_INVALID, f"its will: {why}")

    def _standing(self, device: str, name: str) -> list[Client]:
        """The device's other sessions that are connected, the longest first."""
        others = [each for each in self._broker.sessions_of(device) if each.connection is not None]
        return sorted((each for each in others if each.name != name), key=_opened)

    def _make_room(self, device: str, name: str, listener: Listener) -> None:
        """The device has so many connections, and so many sessions, that this one is within their number."""
        if listener.client_id == "match":
            return
        most = listener.connections_per_identity
        standing = self._standing(device, name)
        for client in standing[: max(0, len(standing) - most + 1)]:
            assert client.connection is not None
            take_over(client.connection)
        others = [each for each in self._broker.sessions_of(device) if each.name != name]
        alone = sorted((each for each in others if each.connection is None), key=_gone_at)
        for client in alone[: max(0, len(others) - most + 1)]:
            _log.info(
                "ended device=%s: its session of client id %r, for a newer one (listeners.connections_per_identity)",
                device,
                client_id_of(client.name),
            )
            self._broker.discard(client)
            self.session_over(client.name)

    def _admit_when_durable(
        self, connection: Connection, client: Client, event: ConnectRequested, *, present: bool
    ) -> None:
        """Lets it in when what CONNACK promises is on disk."""

        def admit() -> None:
            if client.connection is connection and not connection.closed:
                self._admit(connection, client, event, present=present)

        def stored() -> None:
            self._loop.call_soon_threadsafe(admit)

        def reset_durable() -> None:
            if event.expiry_s:
                self._broker.keep(client, stored)
            else:
                self._broker.when_stored(stored)

        if not present:
            self._pipeline.exchanges.reset(client.name, reset_durable)
        elif event.expiry_s and event.will is None:
            admit()
        else:
            # A will is on disk by then; and a session that ends with its connection now is not brought back by a kill.
            self._broker.when_stored(stored)

    def _admit(self, connection: Connection, client: Client, event: ConnectRequested, *, present: bool) -> None:
        """CONNACK; then what waited for the client and what it sent meanwhile."""
        now = self._loop.time()
        self._presences.came(client, arrival_of(connection.peer, event.version, resumed=present))
        connection.session.accept(client.state, present=present, now=now, assigned_client_id=not event.client_id)
        _log.info(
            "connected device=%s peer=%s mqtt=%s session=%s%s",
            client.device,
            connection.peer,
            _VERSIONS.get(event.version, "5"),
            present,
            "" if client.name == client.device else f" client_id={client_id_of(client.name)!r}",
        )
        if self._pipeline.commands is not None:
            self._pipeline.commands.send(client.device)
        connection.resume()


def _client_id(identity: str | None, named: str, admitted: Admitted | None) -> str:
    """The client id by which its session goes, one of ours where it names none [MQTT-3.1.3-6]."""
    if identity is None or admitted is None:
        return named or assigned_client_id()
    rule = admitted.listener.client_id
    if rule == "match" or named:
        return named or identity
    return assigned_client_id() if rule == "any" else f"{identity}-{secrets.token_hex(8)}"


def _fits(client_id: str, admitted: Admitted) -> bool:
    """Whether the client id is one that the listener takes from this device; none at all is."""
    device, rule = admitted.device, admitted.listener.client_id
    return (
        not client_id
        or rule == "any"
        or client_id == device
        or (rule == "prefix" and client_id.startswith(device or ""))
    )


def _opened(client: Client) -> float:
    return client.connection.opened if client.connection is not None else 0.0


def _gone_at(client: Client) -> float:
    return client.gone_at or 0.0
