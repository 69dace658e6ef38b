"""The local broker: which clients there are, what they subscribed to, and what is delivered to whom.

It knows nothing of the uplink; the pipeline decides what becomes of a message, the broker delivers it on this gateway.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator

from bridge.config import Limits, Mqtt
from bridge.device_side.cold import ColdStore, Table
from bridge.device_side.connection import Connection
from bridge.device_side.fan_out import FanOut
from bridge.device_side.kept_exchanges import KeptExchanges
from bridge.device_side.kept_sessions import KeptSessions, Soon
from bridge.device_side.long_clock import LongClock
from bridge.device_side.retained import Retained
from bridge.message import Message
from bridge.mqtt.events import ConnectRequested, SubscribeRequested, UnsubscribeRequested, Will
from bridge.mqtt.queue_room import QueueRoom
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session_name import device_of
from bridge.mqtt.session_state import Outgoing, SessionState
from bridge.mqtt.subscription import Subscription
from bridge.mqtt.topics import is_shared, split_share, weight
from bridge.security.acl import Acl

TAKEN_OVER = "taken-over"
NEVER = 0xFFFFFFFF
"""A session expiry interval that says the session does not expire (MQTT5 §3.1.2.11.2)."""


class Client:
    """One session of a device, connected or away."""

    __slots__ = ("answers", "connection", "device", "gone_at", "state", "will")

    def __init__(self, state: SessionState) -> None:
        self.state = state
        self.device = device_of(state.name)
        """The device id: a certificate's identity, else the client id."""
        self.connection: Connection | None = None
        self.will: Will | None = None
        self.answers = 0
        """To its messages, that wait for the disk."""
        self.gone_at: float | None = None
        """Loop time of its going; None while connected."""

    @property
    def name(self) -> str:
        """What the session goes by (`bridge.mqtt.session_name`)."""
        return self.state.name


class Broker:
    """All clients of this gateway."""

    def __init__(
        self,
        acl: Acl,
        retained: Retained,
        cold: ColdStore,
        mqtt: Mqtt,
        limits: Limits,
        now: Callable[[], float],
        soon: Soon,
        long: LongClock,
    ) -> None:
        """Args:
        acl: who may subscribe to what.
        retained: the retained messages.
        cold: where sessions are kept between two starts.
        mqtt: the protocol's limits.
        limits: the daemon's.
        now: the loop's clock, seconds.
        soon: the loop's `call_soon_threadsafe`.
        long: for what is to end after a restart.
        """
        self._fan_out = FanOut(limits, now)
        self.subscriptions = self._fan_out.subscriptions
        self.clients: dict[str, Client] = {}
        """By the names of their sessions."""
        self._named: dict[str, dict[Client, None]] = {}
        """By device, those whose client id is another than the device id."""
        self.expired = 0
        """Sessions whose time was over."""
        self._displaced = 0
        """Messages that made room for newer ones, in sessions that are over."""
        self.retained = retained
        self.queue_room = QueueRoom(limits.session_queues_bytes)
        """What the queues of all sessions take."""
        self._acl = acl
        self._kept = KeptSessions(cold, mqtt, now, soon, self._stored, long, self.queue_room)
        self.exchanges = KeptExchanges(cold, self._kept)
        """QoS 2 publications that sessions which stay have been given."""
        self._mqtt = mqtt
        self._limits = limits
        self._now = now

    def restore(self, open_handshakes: dict[str, set[int]]) -> list[str]:
        """At start: the sessions of the last daemon, with their open QoS 2 hand-shakes.

        Returns the sessions with hand-shakes of which none was not to outlive its connection: with it they ended, and
        were they kept, the next message with such a packet identifier would be taken for a repetition.
        """
        for state, alone_since in self._kept.load():
            client = self._know(Client(state))
            client.gone_at = alone_since
            for subscription in state.subscriptions.values():
                self._fan_out.subscribe(client, subscription)
        self.queue_room.trim()
        told = self.exchanges.restore(open_handshakes, self.clients)
        for name, client in self.clients.items():
            known = told.get(name, set())
            client.state.restore_incoming(known, untold=open_handshakes.get(name, set()) - known)
        return [name for name in open_handshakes if name not in self.clients]

    def sessions_of(self, device: str) -> list[Client]:
        """All that the device has, the one without a client id of its own first, then the oldest."""
        own = self.clients.get(device)
        return [*(() if own is None else (own,)), *self._named.get(device, ())]

    def will_resume(self, event: ConnectRequested, name: str) -> bool:
        """Whether `open_session` would find a session that goes on."""
        client = self.clients.get(name)
        return client is not None and not event.clean_start and (client.connection is None or client.state.expiry_s > 0)

    def open_session(self, event: ConnectRequested, name: str) -> tuple[Client, bool]:
        """The client's session, fresh where it asked for that or had none. Returns (client, session present)."""
        client = self.clients.get(name)
        if client is not None and client.connection is not None:
            take_over(client.connection)
            client = self.clients.get(name)  # a session that ends with its connection is gone now
        present = client is not None and not event.clean_start
        if client is None or event.clean_start:
            if client is not None:
                self._forget(client)
            client = self._add(name, event.version, event.expiry_s)
        if present and not event.expiry_s:
            self._kept.forget(client.state)  # from now on it ends with its connection
        client.state.version, client.state.expiry_s = event.version, event.expiry_s
        client.gone_at, client.will = None, event.will
        if present and event.expiry_s:
            self._kept.store(client.state, gone=False)  # so that its time does not run on from when it was alone
        return client, present

    def keep(self, client: Client, stored: Callable[[], object]) -> None:
        """Writes a session that outlives its connection; `stored`, on the store's thread, when it is on disk."""
        self._kept.store(client.state, gone=False)
        self.when_stored(stored)

    def when_stored(self, stored: Callable[[], object]) -> None:
        """Calls `stored`, on the store's thread, when all that sessions have written so far is on disk."""
        self._kept.after_commit(stored)

    def when_kept(self, kept: Callable[[], object]) -> None:
        """Calls `kept` when all that sessions which stay have been given so far is on disk."""
        self._kept.when_kept(kept)

    def keep_messages(self) -> None:
        """Writes what sessions that stay have to be sent, as far as it has changed since the last call."""
        self._kept.write_messages()

    def has_room(self, name: str) -> bool:
        """Whether one more client can be known."""
        return name in self.clients or len(self.clients) < self._limits.sessions

    def left(self, client: Client) -> bool:
        """The client's connection ended; a session that ends with it goes too (MQTT5 §3.1.2.11.2). True: it did."""
        client.connection = None
        client.gone_at = self._now()
        if client.state.expiry_s == 0:
            self._forget(client)
            return True
        self._fan_out.went_away(client)
        self._kept.store(client.state, gone=True)
        return False

    def expire(self) -> list[str]:
        """Forgets the sessions and retained messages whose time has come. Returns the sessions' names."""
        self.retained.expire()
        now = self._now()
        over = [
            client
            for client in self.clients.values()
            if client.gone_at is not None
            and client.state.expiry_s != NEVER
            and now - client.gone_at >= client.state.expiry_s
        ]
        self.expired += len(over)
        for client in over:
            self._forget(client)
        return [client.name for client in over]

    def discard(self, client: Client) -> None:
        """Its session, whose connection is gone, is over before its time."""
        self._forget(client)

    def publish(self, message: Message, publisher: Client | None) -> bool:
        """Delivers to every subscriber on this gateway and keeps the message where it is retained.

        True: something of it is on its way to the disk, which is to be waited for (`when_kept`).
        """
        before = self._fan_out.kept
        self._retain(message)
        self._fan_out.publish(message, publisher)
        return message.retain or self._fan_out.kept != before

    def tell(self, message: Message, publisher: Client, acknowledge: Callable[[], object], *, in_log: bool) -> None:
        """As `publish`; acknowledges a message of QoS 1 or 2 when sessions that stay have it on disk.

        The publisher's own copy, if it wants one, comes behind its answer.
        """
        if not message.qos:
            self.publish(message, publisher)
            return
        before = self._fan_out.kept
        self._retain(message)
        own = self._fan_out.publish(message, publisher, aside=True)
        answer = acknowledge if own is None else self._answer(message, publisher, own, acknowledge)
        if message.retain or self._fan_out.kept != before:
            if message.qos == 2 and publisher.state.keeper is not None:
                self.exchanges.told(publisher.name, message.packet_id, in_log=in_log)
        elif not publisher.answers:
            answer()
            return
        self._answer_later(publisher, answer)

    def _retain(self, message: Message) -> None:
        if message.retain:
            self.retained.store(message)

    def _answer_later(self, publisher: Client, answer: Callable[[], object]) -> None:
        """Others of its messages are answered behind that one [MQTT-4.6.0-5]."""

        def kept() -> None:
            publisher.answers -= 1
            answer()

        publisher.answers += 1
        self._kept.when_kept(kept)

    def _answer(
        self, message: Message, publisher: Client, own: Subscription, acknowledge: Callable[[], object]
    ) -> Callable[[], object]:
        """Acknowledges, with the publisher's own copy behind it: one that its session keeps is on its way at once."""
        expires = self._fan_out.expires(message)
        if own.qos and publisher.state.keeper is not None:
            self._fan_out.deliver(publisher, message, own, expires=expires, behind=True)
            return acknowledge

        def answer() -> None:
            acknowledge()
            if self.clients.get(publisher.name) is publisher:
                self._fan_out.deliver(publisher, message, own, expires=expires)

        return answer

    def offer(
        self, client: Client, message: Message, expires: float | None, watcher: Callable[[Outgoing], object]
    ) -> Outgoing | None:
        """To one client; see `FanOut.offer`."""
        return self._fan_out.offer(client, message, expires, watcher)

    def put(self, table: Table, key: str, value: bytes | None) -> None:
        """Something that is to be on disk together with the messages that sessions have got just now."""
        self._kept.put(table, key, value)

    def announce(self, message: Message) -> None:
        """Delivers and retains a message of our own, which does not outlive the daemon."""
        self.retained.store(message, durable=False)
        self._fan_out.publish(message, None)

    def pass_on(self, message: Message) -> None:
        """Delivers a retained message that somebody else keeps (`Retained.elsewhere`); an empty one ends that."""
        if not message.payload:
            self.retained.store(message)
        self._fan_out.publish(message, None)

    @property
    def delivered(self) -> int:
        """Messages given to clients or their queues."""
        return self._fan_out.delivered

    @property
    def dropped(self) -> int:
        """Messages that a client's bounds had no room for."""
        known = sum(client.state.displaced for client in self.clients.values())
        return self._fan_out.dropped + self._displaced + known

    @property
    def shared_subscriptions(self) -> int:
        """How many of the subscriptions are shared ones."""
        return self._fan_out.shared_subscriptions

    def subscribe(self, client: Client, event: SubscribeRequested) -> list[int]:
        """Adds the subscriptions that are allowed; returns a reason for each.

        The caller answers when they are stored (`keep`), if the session is to stay, and calls `send_retained`.
        """
        return [self._subscribe_one(client, subscription) for subscription in event.subscriptions]

    def send_retained(self, client: Client, fresh: list[Subscription]) -> None:
        """The retained messages of subscriptions just made (MQTT5 §3.3.1.3); of shared ones none (MQTT5 §4.8.2)."""
        for subscription in fresh:
            if is_shared(subscription.filter):
                continue
            for message in self.retained.matching(subscription.filter):
                expires = self.retained.expires(message.topic)
                self._fan_out.deliver(client, message, subscription, retained=True, expires=expires)

    def unsubscribe(self, client: Client, event: UnsubscribeRequested) -> list[int]:
        """Removes; returns a reason for each [MQTT-3.11.3-2]."""
        reasons = []
        for topic_filter in event.filters:
            client.state.subscriptions.pop(topic_filter, None)
            existed = self._fan_out.unsubscribe(client, topic_filter)
            reasons.append(Reason.SUCCESS if existed else Reason.NO_SUBSCRIPTION_EXISTED)
        return [int(reason) for reason in reasons]

    def narrow(self, client: Client) -> list[str]:
        """Ends the client's subscriptions that are not allowed any more; returns their filters."""
        gone = [name for name in client.state.subscriptions if not self._acl.may_subscribe(client.device, name)]
        for name in gone:
            del client.state.subscriptions[name]
            self._fan_out.unsubscribe(client, name)
        if gone and client.state.expiry_s:
            self._kept.store(client.state, gone=client.connection is None)
        return gone

    def filters(self) -> set[str]:
        """Of all subscriptions; of a shared one its filter alone."""
        named = (name for client in self.clients.values() for name in client.state.subscriptions)
        return {split_share(name)[1] for name in named}

    def connected(self) -> Iterator[Connection]:
        """Every client's connection."""
        return (client.connection for client in self.clients.values() if client.connection is not None)

    def _add(self, name: str, version: int, expiry_s: int) -> Client:
        client = self._know(Client(SessionState(name, version, expiry_s, self._mqtt, self.queue_room)))
        client.gone_at = self._now()
        return client

    def _know(self, client: Client) -> Client:
        self.clients[client.name] = client
        if client.name != client.device:
            self._named.setdefault(client.device, {})[client] = None
        return client

    def _forget(self, client: Client) -> None:
        client.state.abandon()
        self._fan_out.session_over(client)
        self.exchanges.session_over(client.name)
        client.state.close()
        self._displaced += client.state.displaced
        del self.clients[client.name]
        if client.name != client.device:
            named = self._named[client.device]
            del named[client]
            if not named:
                del self._named[client.device]
        self._kept.forget(client.state)

    def _stored(self, state: SessionState) -> None:
        """What waited in a session for the disk may go out."""
        client = self.clients.get(state.name)
        if client is not None and client.state is state and client.connection is not None:
            client.connection.session.stored(self._now())
            client.connection.flush_soon()

    def _subscribe_one(self, client: Client, subscription: Subscription) -> int:
        state = client.state
        if not self._acl.may_subscribe(client.device, subscription.filter):
            return Reason.NOT_AUTHORIZED
        if subscription.filter not in state.subscriptions and not self._has_room_for(subscription, state.subscriptions):
            return Reason.QUOTA_EXCEEDED
        state.subscriptions[subscription.filter] = subscription
        self._fan_out.subscribe(client, subscription)
        return subscription.qos

    def _has_room_for(self, subscription: Subscription, others: Collection[str]) -> bool:
        size = sum(map(weight, others)) + weight(subscription.filter)
        return len(others) < self._mqtt.subscriptions_max and size <= self._mqtt.subscriptions_bytes


def take_over(older: Connection) -> None:
    """A connection ends for a newer one [MQTT-3.1.4-3]."""
    older.dismiss(Reason.SESSION_TAKEN_OVER, why=TAKEN_OVER)
    older.close(TAKEN_OVER, will=True)


def assigned_client_id() -> str:
    """For a client that brought none [MQTT-3.1.3-6]."""
    return f"auto-{secrets.token_hex(8)}"
