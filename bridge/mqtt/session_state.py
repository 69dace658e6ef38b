"""SessionState: what of a client outlives its connection (MQTT5 §4.1).

It holds values and their bounds, no protocol: `Session` moves it. It never expires itself: the broker, which owns it,
has the clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Protocol

import msgspec

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt.queue_room import QueueRoom
from bridge.mqtt.subscription import Subscription
from bridge.mqtt.topics import is_shared

_ITEM_BYTES = 256
"""What a message in a queue takes beside its own size, about."""
_FORGOTTEN = Message("", b"")


class Stage(IntEnum):
    """How far a QoS 2 publication from the client has come."""

    RECEIVED = 0
    DURABLE = 1
    RELEASED = 2
    UNTOLD = 3
    """Durable before a restart; whether subscribers had it by then is not known: it is reported again if repeated."""


class Answering(Protocol):
    """What an exchange needs of the connection that waits for its answer. A closed one keeps silent."""

    def pubrec(self, packet_id: int, reason: int) -> None:
        """The message is durable, or refused by a reason >= 0x80."""

    def pubcomp(self, packet_id: int) -> None:
        """The release is durable."""


class Keeper(Protocol):
    """Who keeps states on disk."""

    def changed(self, state: SessionState, item: Outgoing) -> None:
        """It has a message to send that it had not, or one is not as it was, or over."""

    def awaited(self, state: SessionState) -> None:
        """Something of it may be said only when it is on disk: `Session.stored` is to be called then."""


class Exchange:
    """One QoS 2 publication from the client, from its PUBLISH to our PUBCOMP."""

    __slots__ = ("connection", "stage")

    def __init__(self, stage: Stage, connection: Answering | None) -> None:
        self.stage = stage
        self.connection = connection
        """The newest connection that spoke of it: the one that gets the answer."""


class Outgoing(msgspec.Struct):
    """One QoS 1 or 2 message to the client, queued or in flight."""

    message: Message
    qos: int
    retain: bool
    identifiers: tuple[int, ...]
    packet_id: int = 0
    """0 while queued."""
    released: bool = False
    """QoS 2: PUBREC has come; PUBREL is what is repeated, not PUBLISH [MQTT-4.3.3-6]."""
    expires: float | None = None
    """Reading of the broker's clock, seconds, after which it is not worth sending (MQTT5 §3.3.2.3.3)."""

    share: str = ""
    """The shared subscription it comes by, as `Subscription.filter`; empty: none."""
    number: int = 0
    """Where the broker has stored it; 0: nowhere."""
    stored: bool = False
    """It is on disk with this packet id and as far as it has come."""
    behind: bool = False
    """The client has published it itself, and is told first that it is on disk: what waits for that goes later."""
    over: bool = False
    """Delivered, dropped or given to somebody else."""
    strict: bool = False
    """Once it has expired it is not even repeated: its sender has given it up."""
    answer: int = -1
    """Reason of the client's PUBACK or PUBREC, or 0x95 where it takes no packet of that size; -1: there was none."""
    watcher: Callable[[Outgoing], object] | None = None
    """Told when it is answered, or over."""

    @property
    def size(self) -> int:
        """Bytes it is counted with."""
        return self.message.size

    @property
    def forgotten(self) -> bool:
        """Of a message in flight nothing is left but that it is: see `SessionState.forget`."""
        return not self.message.topic


class SessionState:
    """A client's subscriptions, its exchanges in progress and the messages that wait for it."""

    def __init__(self, name: str, version: int, expiry_s: int, limits: Mqtt, room: QueueRoom | None = None) -> None:
        """`name`: see `session_name`. `room`: what its queue shares with others'; None: it is alone."""
        self.name = name
        self.version = version
        """Protocol level of its newest connection: 3 (3.1), 4 (3.1.1) or 5."""
        self.expiry_s = expiry_s
        """How long it outlives the connection, seconds; 0: not at all."""
        self.subscriptions: dict[str, Subscription] = {}
        """By filter, kept by the broker."""
        self.incoming: dict[int, Exchange] = {}
        """QoS 2 publications from the client, by packet id."""
        self.in_flight: dict[int, Outgoing] = {}
        """Sent and not finished, by packet id, in the order in which they are to be repeated."""
        self.flight_bytes = 0
        """Of their messages."""
        self.queue: deque[Outgoing] = deque()
        """Waiting for room in the window, or for the client; oldest first."""
        self.queue_bytes = 0
        self.dropped = 0
        """Messages this client never got: queue full, expired, or larger than its Maximum Packet Size."""
        self.displaced = 0
        """Of those, the ones that made room for others; one in flight may have come all the same."""
        self.last_packet_id = 0
        self.keeper: Keeper | None = None
        """Where it is on disk; None: it does not outlive its connection."""
        self._first_expiry = math.inf
        """No message in the queue expires before."""
        self._limits = limits
        self._room = room or QueueRoom()
        self._held = 0
        """Bytes of its queue in `_room`."""

    def restore_incoming(self, packet_ids: Iterable[int], untold: Iterable[int] = ()) -> None:
        """Takes up QoS 2 hand-shakes that were durable before a restart; of `untold` see `Stage.UNTOLD`."""
        self.incoming.update((packet_id, Exchange(Stage.DURABLE, None)) for packet_id in packet_ids)
        self.incoming.update((packet_id, Exchange(Stage.UNTOLD, None)) for packet_id in untold)

    def enqueue(
        self,
        message: Message,
        subscription: Subscription,
        now: float,
        *,
        retained: bool = False,
        expires: float | None = None,
    ) -> bool:
        """Keeps a message for a client that is away; False: dropped (QoS 0, or the queue is full)."""
        return self.put(outgoing(message, subscription, retained=retained, expires=expires), now)

    def put(self, item: Outgoing, now: float) -> bool:
        """Queues `item`; False: dropped. `now`: the clock of `Outgoing.expires`; what has expired makes room."""
        if item.qos and not self._has_room(item) and now >= self._first_expiry:
            self._drop_expired(now)
        if not (item.qos and (self._has_room(item) or self._make_room(item)) and self._is_admitted(item)):
            self.dropped += 1
            return False
        self._append(item)
        self.mark_changed(item)
        return True

    def restore_outgoing(self, item: Outgoing) -> None:
        """Takes up, after a restart, a message that was queued, or in flight with its packet id."""
        if item.packet_id:
            self.begin(item)
            self.last_packet_id = item.packet_id
        else:
            self._append(item)

    def begin(self, item: Outgoing) -> None:
        """`item`, which has its packet id now, is in flight."""
        self.in_flight[item.packet_id] = item
        self.flight_bytes += item.size

    def finish(self, item: Outgoing) -> None:
        """`item` is not in flight any more."""
        del self.in_flight[item.packet_id]
        self.flight_bytes -= item.size

    @property
    def is_light(self) -> bool:
        """One more may be in flight, as far as their bytes go."""
        return self.flight_bytes < self._limits.inflight_max_bytes

    def forget(self, item: Outgoing) -> None:
        """Lets go of what is in flight: its packet id is taken until the client answers, but it is not repeated."""
        self.flight_bytes -= item.size
        item.message = _FORGOTTEN
        self.displaced += 1
        self.dropped += 1

    def mark_changed(self, item: Outgoing) -> None:
        """`item` has come to what is to be sent, or is not as it was."""
        if self.keeper is not None:
            self.keeper.changed(self, item)

    def mark_over(self, item: Outgoing) -> None:
        """`item` is not to be sent any more."""
        item.over = True
        self.mark_changed(item)
        if item.watcher is not None:
            item.watcher(item)

    def withdraw(self, item: Outgoing) -> bool:
        """Takes a message out of the queue; False: it is not in there (any more)."""
        if item.packet_id or not any(each is item for each in self.queue):
            return False
        self.queue = deque(each for each in self.queue if each is not item)
        self._resize(-item.size)
        self.mark_over(item)
        return True

    def abandon(self) -> None:
        """The session is over: who watches a message of it is told."""
        for item in (*self.in_flight.values(), *self.queue):
            if item.watcher is not None:
                item.over = True
                item.watcher(item)

    @property
    def keeps_oldest(self) -> bool:
        """Where its queue has no room, what comes last is dropped."""
        return self._limits.queue_on_full == "drop_new"

    def give_way(self) -> None:
        """Drops the oldest queued message or the newest, as is the policy: for others, or for one that comes."""
        item = self.queue.pop() if self.keeps_oldest else self.queue.popleft()
        self._resize(-item.size)
        self.mark_over(item)
        self.displaced += 1
        self.dropped += 1

    def close(self) -> None:
        """The session is over: what it holds counts no more."""
        self.queue.clear()
        self._resize(-self.queue_bytes)

    def _resize(self, change: int) -> None:
        """The queue is other than it was, by `change` bytes."""
        self.queue_bytes += change
        before, self._held = self._held, self.queue_bytes + len(self.queue) * _ITEM_BYTES
        self._room.resized(self, before, self._held)

    def _is_admitted(self, item: Outgoing) -> bool:
        return self._room.admits(self, item.size + _ITEM_BYTES)

    def _append(self, item: Outgoing) -> None:
        self.queue.append(item)
        self._resize(item.size)
        if item.expires is not None:
            self._first_expiry = min(self._first_expiry, item.expires)

    def _has_room(self, item: Outgoing) -> bool:
        bytes_then = self.queue_bytes + item.size
        return len(self.queue) < self._limits.queue_max_messages and bytes_then <= self._limits.queue_max_bytes

    def _make_room(self, item: Outgoing) -> bool:
        """Drops the oldest for it; False: that is not the policy, or would not help."""
        if self.keeps_oldest or item.size > self._limits.queue_max_bytes:
            return False
        while not self._has_room(item):
            self.give_way()
        return True

    def _drop_expired(self, now: float) -> None:
        kept = deque[Outgoing]()
        for item in self.queue:
            if item.expires is None or item.expires > now:
                kept.append(item)
            else:
                self.mark_over(item)
        self.dropped += len(self.queue) - len(kept)
        self.queue = kept
        self._resize(sum(item.size for item in kept) - self.queue_bytes)
        self._first_expiry = min((item.expires for item in kept if item.expires is not None), default=math.inf)

    def take(self) -> Outgoing:
        """The oldest queued message; IndexError when there is none."""
        item = self.queue.popleft()
        self._resize(-item.size)
        return item

    def take_shared(self, wanted: Callable[[Outgoing], bool], *, in_flight: bool = False) -> list[Outgoing]:
        """Takes out what came by shared subscriptions and is `wanted`, oldest first, for others to have it.

        In flight at QoS 1 too where asked for; at QoS 2 never [MQTT-4.8.2-5].
        """
        taken = []
        if in_flight:
            taken = [item for item in self.in_flight.values() if item.share and item.qos == 1 and wanted(item)]
            taken = [item for item in taken if not item.forgotten]
            for item in taken:
                self.finish(item)
        waiting = [item for item in self.queue if item.share and wanted(item)]
        if waiting:
            gone = {id(item) for item in waiting}
            self.queue = deque(item for item in self.queue if id(item) not in gone)
            self._resize(-sum(item.size for item in waiting))
        for item in (*taken, *waiting):
            self.mark_over(item)
        return taken + waiting

    def next_packet_id(self) -> int:
        """A packet id no message in flight has [MQTT-2.2.1-3]; the window keeps far below 65,535 of them in use."""
        while True:
            self.last_packet_id = self.last_packet_id % 0xFFFF + 1
            if self.last_packet_id not in self.in_flight:
                return self.last_packet_id


def outgoing(message: Message, subscription: Subscription, *, retained: bool, expires: float | None) -> Outgoing:
    """What of `message` goes to a subscriber: the lower QoS (MQTT5 §3.8.4), RETAIN by its options [MQTT-3.3.1-12]."""
    retain = retained or (subscription.retain_as_published and message.retain)
    qos = min(message.qos, subscription.qos)
    share = subscription.filter if is_shared(subscription.filter) else ""
    return Outgoing(message, qos, retain, subscription.identifiers, expires=expires, share=share)
