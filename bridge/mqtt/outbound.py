"""Outbound: messages to the client on one connection (MQTT5 §4.3, §4.4, §4.9).

It keeps the send window, repeats what an earlier connection left unfinished, and takes from the queue as the window
opens. What must survive the connection is in `SessionState`.

Where the state is kept on disk, each step of a QoS 2 exchange is there before it is said: else a server that is killed
would begin an exchange anew, under another packet id, that the client has in its books already. What comes behind such
a step waits with it, so that the order stays.
"""

from __future__ import annotations

from collections import deque
from math import ceil

from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.copies import NO_ALIAS, Alias, Copies, publish
from bridge.mqtt.encode import encode
from bridge.mqtt.errors import protocol_error
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session_state import Outgoing, SessionState
from bridge.mqtt.subscription import Subscription
from bridge.mqtt.topics import REMEMBERED_MAX

_SHORT_TOPIC = 3
"""Characters: an alias takes as many bytes."""
_ROUNDING_S = 1e-3
"""What sums of clock readings may be off: whole seconds of waiting count, and none of it counts as one more to live."""


class Outbound:
    """Sends at most `window` unacknowledged messages and no packet over `max_bytes`.

    After `output_max` bytes it holds messages back until it hears, by `drained`, that they are with the client: a
    window full of large messages is not encoded for a client that does not read.
    """

    __slots__ = (
        "_aliases", "_aliases_max", "_max_bytes", "_output", "_output_max", "_repeat", "_sent", "_state", "_undrained",
        "_unsaid", "_version", "_window", "output_bytes", "stalled",
    )  # fmt: skip

    def __init__(
        self,
        state: SessionState,
        version: int,
        window: int,
        max_bytes: int,
        output_max: float,
        aliases_max: int,
        output: list[bytes],
    ) -> None:
        self.stalled = False
        """Something may wait for `drained` only."""
        self.output_bytes = 0
        """Of messages put into the output; who empties it sets this back."""
        self._state = state
        self._version = version
        self._window = window
        self._max_bytes = max_bytes
        self._output_max = output_max
        self._undrained = 0
        self._aliases_max = aliases_max
        self._aliases: dict[str, int] = {}
        """By topic, as the client has been told on this connection [MQTT-3.3.2-7]."""
        self._output = output
        self._sent: set[int] = set()
        """Packet ids that take room in this connection's window."""
        self._repeat: deque[Outgoing] = deque()
        """In flight from an earlier connection, not yet repeated on this one."""
        self._unsaid: deque[tuple[Outgoing, bool]] = deque()
        """What waits for the disk, oldest first; True: a repetition."""

    def resume(self, now: float) -> None:
        """Repeats what an earlier connection left unfinished, in its order [MQTT-4.4.0-1] [MQTT-4.6.0-1]."""
        for item in self._state.in_flight.values():
            if item.released:
                self._release(item)
            else:
                self._repeat.append(item)
        self.pump(now)

    def deliver(self, item: Outgoing, now: float, copies: Copies | None = None) -> bool:
        """Sends or queues `item`; False: dropped. `copies` of its message may have been made for others."""
        if item.qos:
            # While there is room nothing waits, `pump` has seen to that; but for what `forget` has made room for.
            room = self._room() and self._state.is_light and not self._state.queue
            return self._send_new(item, now, copies) if room else self._state.put(item, now)
        return self._transmit(item, now, copies, dup=False)

    def relay(self, message: Message, subscription: Subscription, copies: Copies) -> bool | None:
        """As `deliver`, where it is as simple as it usually is: QoS 0, no expiry, no aliases. None: it is not."""
        if self._aliases_max or (message.qos and subscription.qos):
            return None
        return self._put_out(copies.simple(message, subscription, self._version))

    def _put_out(self, packet: bytes) -> bool:
        if len(packet) > self._max_bytes:
            self._state.dropped += 1
            return False
        self._output.append(packet)
        self.output_bytes += len(packet)
        self._undrained += len(packet)
        return True

    def pump(self, now: float) -> None:
        """Fills the window: first repetitions, then the queue."""
        while self._room():
            if self._repeat:
                self._send_again(self._repeat.popleft(), now)
            elif self._state.queue and self._state.is_light:
                self._send_new(self._state.take(), now)
            else:
                return

    def drained(self, now: float) -> None:
        """What was put into the output has left: more may follow."""
        self._undrained = 0
        self.stalled = False
        self.pump(now)

    def stored(self, now: float) -> None:
        """Some of what the state has to send is on disk: what waited for that goes out."""
        while self._unsaid:
            item, dup = self._unsaid[0]
            current = self._state.in_flight.get(item.packet_id) is item
            if current and (item.qos == 2 or item.behind) and not item.stored:
                return
            self._unsaid.popleft()
            if current:
                self._say(item, now, dup=dup)
        self.pump(now)

    def acknowledged(self, packet: packets.Puback, now: float) -> None:
        """PUBACK. One for an unknown id is passed over: the standard has no answer to it."""
        item = self._state.in_flight.get(packet.packet_id)
        if item is None:
            return
        if item.qos != 1:
            raise protocol_error("PUBACK for a QoS 2 message [MQTT-4.3.3-4]")
        item.answer = packet.reason
        self._finish(item, now)

    def received(self, packet: packets.Pubrec, now: float) -> None:
        """PUBREC: from now on PUBREL is what is repeated; a refusal ends the exchange."""
        item = self._state.in_flight.get(packet.packet_id)
        if item is None:
            if packet.reason < 0x80:
                # So that a client whose exchange we no longer know can finish it.
                unknown = packets.Pubrel(packet.packet_id, Reason.PACKET_IDENTIFIER_NOT_FOUND)
                self._output.append(encode(unknown, self._version))
            return
        if item.qos != 2:
            raise protocol_error("PUBREC for a QoS 1 message [MQTT-4.3.2-3]")
        if not item.released:
            item.answer = packet.reason
        if packet.reason >= 0x80:
            self._finish(item, now)
            return
        if not item.released:
            item.released, item.stored = True, False
            # PUBREL is repeated in the order of PUBREC, not of PUBLISH [MQTT-4.6.0-4].
            self._state.in_flight[item.packet_id] = self._state.in_flight.pop(item.packet_id)
            self._state.mark_changed(item)
            if item.watcher is not None:
                item.watcher(item)
        self._release(item)

    def completed(self, packet: packets.Pubcomp, now: float) -> None:
        """PUBCOMP: the exchange is over."""
        item = self._state.in_flight.get(packet.packet_id)
        if item is None:
            return
        if not item.released:
            raise protocol_error("PUBCOMP before PUBREC [MQTT-4.3.3-4]")
        self._finish(item, now)

    def _room(self) -> bool:
        if len(self._sent) >= self._window:
            return False
        if self._undrained >= self._output_max:
            self.stalled = True
            return False
        return True

    def _finish(self, item: Outgoing, now: float) -> None:
        self._state.finish(item)
        self._state.mark_over(item)
        self._sent.discard(item.packet_id)
        self.pump(now)

    def _release(self, item: Outgoing) -> None:
        self._sent.add(item.packet_id)
        if not self._waits(item, dup=True):
            self._output.append(encode(packets.Pubrel(item.packet_id), self._version))

    def _send_new(self, item: Outgoing, now: float, copies: Copies | None = None) -> bool:
        item.packet_id, item.stored = self._state.next_packet_id(), False
        if not self._waits(item, dup=False) and not self._transmit(item, now, copies, dup=False):
            self._state.mark_over(item)
            return False
        self._state.begin(item)
        self._state.mark_changed(item)
        self._sent.add(item.packet_id)
        return True

    def _send_again(self, item: Outgoing, now: float) -> None:
        if self._state.in_flight.get(item.packet_id) is not item or item.released:
            return
        if item.forgotten or (item.strict and item.expires is not None and item.expires <= now):
            self._lapse(item)
            return
        self._sent.add(item.packet_id)
        if not self._waits(item, dup=True):
            self._say(item, now, dup=True)

    def _lapse(self, item: Outgoing) -> None:
        """Gives up what was sent and is not to be repeated; at QoS 2 by a PUBREL, which frees the packet id there."""
        if item.qos == 2:
            item.released, item.stored = True, False
            self._state.mark_changed(item)
            self._release(item)
        else:
            self._state.finish(item)
            self._sent.discard(item.packet_id)
            self._state.mark_over(item)

    def _waits(self, item: Outgoing, *, dup: bool) -> bool:
        """Whether the disk must have it first, or what comes before it; then `stored` goes on with it."""
        keeper = self._state.keeper
        if keeper is None or not (self._unsaid or ((item.qos == 2 or item.behind) and not item.stored)):
            return False
        self._unsaid.append((item, dup))
        keeper.awaited(self._state)
        return True

    def _say(self, item: Outgoing, now: float, *, dup: bool) -> None:
        """PUBLISH or PUBREL of what is in flight; a PUBLISH that is worth nothing any more ends."""
        if item.released:
            self._output.append(encode(packets.Pubrel(item.packet_id), self._version))
        elif item.forgotten:
            self._lapse(item)
        elif not self._transmit(item, now, None, dup=dup):
            self._state.finish(item)
            self._state.mark_over(item)
            self._sent.discard(item.packet_id)

    def _transmit(self, item: Outgoing, now: float, copies: Copies | None, *, dup: bool) -> bool:
        """Puts PUBLISH into the output; False: expired [MQTT-3.3.2-5] or too large for the client [MQTT-3.1.2-25].

        What was begun is repeated though it has expired [MQTT-4.4.0-1].
        """
        left_s = None if item.expires is None else max(0, ceil(item.expires - now - _ROUNDING_S))
        alias = self._alias(item.message.topic) if self._aliases_max else NO_ALIAS
        if copies is not None:
            packet = copies.packet(item, self._version, left_s, alias)
        else:
            packet = publish(item, self._version, left_s, alias, dup=dup)
        if item.expires is not None and item.expires <= now and not dup:
            self._state.dropped += 1
            return False
        if not self._put_out(packet):
            item.answer = Reason.PACKET_TOO_LARGE
            return False
        if alias[0]:
            self._aliases[item.message.topic] = alias[0]
        return True

    def _alias(self, topic: str) -> Alias:
        """The first topics have the aliases there are [MQTT-3.1.2-26]; neither short names nor very long ones."""
        if not _SHORT_TOPIC < len(topic) <= REMEMBERED_MAX:
            return NO_ALIAS
        number = self._aliases.get(topic)
        if number is not None:
            return number, True
        return (len(self._aliases) + 1, False) if len(self._aliases) < self._aliases_max else NO_ALIAS
