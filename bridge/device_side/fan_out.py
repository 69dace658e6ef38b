"""Fan-out: which clients get a message, and in which form each.

A client whose subscriptions overlap gets one copy, at the highest QoS among them and with all their identifiers
[MQTT-3.3.4-2] [MQTT-3.3.4-4]; the standard allows further copies, which devices would have to tell apart. A shared
subscription is apart from it: it gives a copy of its own to one of its members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import TYPE_CHECKING

import msgspec

from bridge.config import Limits
from bridge.device_side.shared import ShareGroup
from bridge.device_side.subscriptions import Subscriptions
from bridge.message import Message
from bridge.mqtt.copies import Copies
from bridge.mqtt.properties import Property
from bridge.mqtt.session_state import Outgoing, outgoing
from bridge.mqtt.subscription import Subscription
from bridge.mqtt.topics import split_share

if TYPE_CHECKING:
    from bridge.device_side.broker import Client

_AWAY = 2


class FanOut:
    """Who subscribed to what, and the way of a message to them."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        """Args:
        limits: what may wait for one connection.
        now: the loop's clock, seconds.
        """
        self.subscriptions: Subscriptions[Client | ShareGroup[Client], Subscription] = Subscriptions()
        self.delivered = self.dropped = 0
        """Copies of messages that found room, and that did not."""
        self.kept = 0
        """Of the former, those for sessions that are kept on disk."""
        self._groups: dict[str, ShareGroup[Client]] = {}
        """By the whole filter, `$share/NAME/FILTER`."""
        self._output_bytes = limits.output_bytes
        self._now = now

    @property
    def shared_subscriptions(self) -> int:
        """Members of all groups."""
        return sum(map(len, self._groups.values()))

    def subscribe(self, client: Client, subscription: Subscription) -> None:
        """Adds a subscription or replaces the one with the same filter [MQTT-3.8.4-3]."""
        share, topic_filter = split_share(subscription.filter)
        if not share:
            self.subscriptions.add(topic_filter, client, subscription)
            return
        group = self._groups.get(subscription.filter)
        if group is None:
            group = self._groups[subscription.filter] = ShareGroup()
            self.subscriptions.add(topic_filter, group, subscription)
        group.join(client, subscription)

    def unsubscribe(self, client: Client, whole_filter: str) -> bool:
        """False where there was no such subscription. What waits for a member of a share goes to the others."""
        share, topic_filter = split_share(whole_filter)
        if not share:
            return self.subscriptions.remove(topic_filter, client)
        group = self._groups.get(whole_filter)
        if group is None or not group.leave(client):
            return False
        if group:
            self._hand_over(client.state.take_shared(lambda item: item.share == whole_filter))
        else:
            del self._groups[whole_filter]
            self.subscriptions.remove(topic_filter, group)
        return True

    def session_over(self, client: Client) -> None:
        """The client and its session are gone: others get what its shares still had for it.

        At QoS 2 what it was sent already goes to nobody else [MQTT-4.8.2-5].
        """
        unfinished = client.state.take_shared(lambda item: True, in_flight=True)
        for whole_filter in client.state.subscriptions:
            self.unsubscribe(client, whole_filter)
        self._hand_over(unfinished)

    def went_away(self, client: Client) -> None:
        """The client's session waits for it: what its shares have not sent yet goes to members that are there."""

        def has_others(item: Outgoing) -> bool:
            group = self._groups.get(item.share)
            return group is not None and group.anybody(lambda member: _wait(member) < _AWAY)

        self._hand_over(client.state.take_shared(has_others))

    def publish(self, message: Message, publisher: Client | None, *, aside: bool = False) -> Subscription | None:
        """Delivers to every subscriber; `aside`: but to the publisher itself, whose subscription is returned."""
        matching = self.subscriptions.match(message.topic)
        if not matching:
            return None
        expires = self.expires(message)
        wanted: dict[Client, Subscription] = {}
        for subscriber, subscription in matching:
            if isinstance(subscriber, ShareGroup):
                self._share(subscriber, message, expires)
            elif not (subscription.no_local and subscriber is publisher):
                known = wanted.get(subscriber)
                wanted[subscriber] = subscription if known is None else _both(known, subscription)
        own = wanted.pop(publisher, None) if aside and publisher is not None else None
        copies = Copies() if len(wanted) > 1 else None
        for client, subscription in wanted.items():
            self.deliver(client, message, subscription, expires=expires, copies=copies)
        return own

    def expires(self, message: Message) -> float | None:
        """The reading of the loop's clock at which a message received now expires; None: never [MQTT-3.3.2-5]."""
        interval = message.properties.get(Property.MESSAGE_EXPIRY_INTERVAL) if message.properties else None
        return self._now() + interval if isinstance(interval, int) else None

    def deliver(
        self,
        client: Client,
        message: Message,
        subscription: Subscription,
        *,
        retained: bool = False,
        expires: float | None = None,
        copies: Copies | None = None,
        behind: bool = False,
    ) -> bool:
        """To one client, or into its queue; False: dropped, for its bounds are reached or it is away at QoS 0.

        `behind`: see `Outgoing.behind`.
        """
        connection, qos = client.connection, min(message.qos, subscription.qos)
        if connection is None:
            if not qos:
                return False
            kept = client.state.enqueue(message, subscription, self._now(), retained=retained, expires=expires)
            self.kept += kept
            return self._count(kept)
        if not qos and connection.output_bytes >= self._output_bytes:
            return self._count(False)
        now = 0.0 if expires is None else self._now()
        taken = connection.session.deliver(
            message, subscription, retained=retained, expires=expires, now=now, copies=copies, behind=behind
        )
        connection.flush_soon()
        if qos and taken and client.state.keeper is not None:
            self.kept += 1
        return self._count(taken)

    def offer(
        self, client: Client, message: Message, expires: float | None, watcher: Callable[[Outgoing], object]
    ) -> Outgoing | None:
        """To this client alone; None: it is not there, or has not subscribed to the topic.

        `watcher` is told of its acknowledgement; at QoS 0 there is none, and the answer stands when this returns. What
        finds no room is `over` then.
        """
        connection = client.connection
        found = [subscription for one, subscription in self.subscriptions.match(message.topic) if one is client]
        if connection is None or not found:
            return None
        item = outgoing(message, reduce(_both, found), retained=False, expires=expires)
        item.strict, item.watcher = True, watcher
        taken = self._count(connection.session.send(item, self._now()))
        if taken and not item.qos:
            item.answer = 0
        item.over = not taken
        connection.flush_soon()
        return item

    def _count(self, taken: bool) -> bool:
        if taken:
            self.delivered += 1
        else:
            self.dropped += 1
        return taken

    def _share(self, group: ShareGroup[Client], message: Message, expires: float | None) -> None:
        def take(client: Client, subscription: Subscription) -> bool:
            return self.deliver(client, message, subscription, expires=expires)

        group.offer(_wait, take)

    def _hand_over(self, items: Iterable[Outgoing]) -> None:
        for item in items:
            group = self._groups.get(item.share)
            if group is not None:
                self._share(group, item.message, item.expires)


def _wait(client: Client) -> int:
    """How a message for a group fares with this member: it goes out at once, behind others, or some day."""
    if client.connection is None or client.connection.session.closed:
        return _AWAY
    return int(bool(client.state.queue))


def _both(one: Subscription, other: Subscription) -> Subscription:
    """Two subscriptions of one client that match the same message, as one."""
    return msgspec.structs.replace(
        one,
        qos=max(one.qos, other.qos),
        retain_as_published=one.retain_as_published or other.retain_as_published,
        identifiers=one.identifiers + other.identifiers,
    )
