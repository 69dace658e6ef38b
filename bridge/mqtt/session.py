"""Session: one network connection of a client, from CONNECT to its end, without I/O.

Bytes and a clock reading go in by `receive`, events come back; what is to be sent is taken by `take_output`. It never
acknowledges a QoS 1 or 2 message by itself: the broker says when, after the message is durable. It knows nothing of
other sessions, of retained messages or of permissions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt import last_words, packets, reasons
from bridge.mqtt.authentication import Methods
from bridge.mqtt.copies import Copies
from bridge.mqtt.decode import answering_version, decode
from bridge.mqtt.encode import PINGRESP, encode
from bridge.mqtt.errors import PeerError, malformed, protocol_error
from bridge.mqtt.events import ConnectRequested, Disconnected, Event, SubscribeRequested, UnsubscribeRequested
from bridge.mqtt.framing import remaining_length
from bridge.mqtt.inbound import Inbound
from bridge.mqtt.opening import Opening
from bridge.mqtt.outbound import Outbound
from bridge.mqtt.packets import Packet, PacketType, Properties
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason, describe
from bridge.mqtt.session_name import client_id_of
from bridge.mqtt.session_state import Outgoing, SessionState, outgoing
from bridge.mqtt.subscription import Subscription
from bridge.mqtt.topics import check_filter

_SERVERS_OWN = frozenset((PacketType.CONNACK, PacketType.SUBACK, PacketType.UNSUBACK, PacketType.PINGRESP))
"""From a client they break the protocol, whatever is in them."""


class Session:
    """The server's end of one MQTT connection."""

    __slots__ = (
        "_buffer", "_connect_bytes", "_heard", "_inbound", "_limits", "_needed", "_now", "_opening", "_outbound",
        "_output", "_output_max", "_packet_max", "client_id", "closed", "packets_received", "packets_sent", "state",
        "version",
    )  # fmt: skip

    def __init__(self, limits: Mqtt, output_max: float = math.inf, methods: Methods = MappingProxyType({})) -> None:
        """Args:
        limits: of the protocol.
        output_max: bytes of QoS 1 and 2 messages given out before `drained` is waited for.
        methods: of extended authentication.
        """
        self.closed = False
        """No more bytes are taken and no events given; `take_output` may still have the last words."""
        self.version = 0
        """3 (MQTT 3.1), 4 (3.1.1) or 5 from CONNECT on; before it 0."""
        self.client_id = ""
        self.state: SessionState | None = None
        """From `accept` on."""
        self.packets_received = self.packets_sent = 0
        """Over its life; of those received all but PUBLISH, which are events."""
        self._limits = limits
        self._opening = Opening(limits, methods)
        self._output_max = output_max
        self._packet_max = min(limits.connect_max_bytes, limits.max_packet_size)
        """Bytes of one packet from the client; another bound from CONNECT on."""
        self._inbound: Inbound | None = None
        self._outbound: Outbound | None = None
        self._heard = 0.0
        self._now = 0.0
        self._output: list[bytes] = []
        self._buffer = bytearray()
        self._connect_bytes = 0
        """Of its CONNECT, which is kept: the will, the password, user properties."""
        self._needed = 0
        """Bytes the buffer must hold before another look is worth it: a packet in small pieces costs linear time."""

    # The stream: bytes in, bytes out.

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What `data` means, in order. `now`: a monotonic clock, seconds.

        A mistake of the peer ends the list with `Disconnected`. After `accept` call it once with `b""`: what the
        client sent behind CONNECT has waited.
        """
        events: list[Event] = []
        if self.closed:
            return events
        self._now = now
        try:
            if self._buffer or (self.state is None and self._opening.complete):
                data = self._join(data)
            used = self._parse(data, events)
        except PeerError as error:
            events.append(self._violated(error))
            return events
        if used:
            self._heard = now
        if used < len(data) and not self.closed:
            self._buffer += data[used:] if used else data
        return events

    def _join(self, data: bytes) -> bytes:
        """Everything that waits and `data`, if that may hold a whole packet; else it all waits on."""
        buffer = self._buffer
        buffer += data
        if self._waiting:
            if len(buffer) > self._limits.max_packet_size:
                raise PeerError(Reason.QUOTA_EXCEEDED, "too much was sent before CONNACK")
            return b""
        if len(buffer) < self._needed:
            return b""
        whole = bytes(buffer)
        buffer.clear()
        return whole

    @property
    def input_bytes(self) -> int:
        """What came and is no whole packet yet, or came before CONNACK; CONNECT, and what the client's aliases hold."""
        aliases = self._inbound.alias_bytes if self._inbound is not None else 0
        return len(self._buffer) + self._connect_bytes + aliases

    @property
    def _waiting(self) -> bool:
        """For `accept` or `refuse`: until then nothing more is taken in."""
        return self.state is None and self._opening.complete

    def _parse(self, data: bytes, events: list[Event]) -> int:
        """Takes whole packets off `data`; how many bytes that were. The usual PUBLISH is read right here."""
        at, end, most = 0, len(data), self._packet_max
        inbound = self._inbound
        shapes = inbound.shapes if inbound is not None else {}
        if data:
            self._needed = 0
        while end - at > 1:
            first, size, start = data[at], data[at + 1], at + 2
            if size > 0x7F:
                if start < end and 0 < data[start] < 0x80:
                    size, start = size & 0x7F | data[start] << 7, start + 1
                else:
                    header = remaining_length(data, at + 1, end, self.version)
                    if header is None:
                        _check_type(first)
                        break
                    size, start = header
            stop = start + size
            if stop - at > most:
                raise PeerError(Reason.PACKET_TOO_LARGE, f"a packet of {stop - at} bytes, over {most}")
            if stop > end:
                _check_type(first)
                self._needed = stop - at
                break
            shape = shapes.get(first)
            if shape is not None and inbound is not None and size > 4:
                qos, retain, dup, overhead = shape
                name_end = start + 2 + (data[start] << 8 | data[start + 1])
                body = name_end + overhead
                topic = inbound.topics.get(data[start + 2 : name_end]) if body <= stop else None
                # In MQTT 5 the byte before the payload is the length of the properties: none.
                if topic is not None and (self.version < 5 or not data[body - 1]):
                    packet_id = data[name_end] << 8 | data[name_end + 1] if qos else 0
                    message = Message(topic, data[body:stop], qos, retain, dup, packet_id)
                    if qos == 1 and packet_id and inbound.unanswered < inbound.window:
                        inbound.unanswered += 1
                        inbound.awaited.append(packet_id)
                        events.append(message)
                    else:
                        inbound.admit(message, events)
                    at = stop
                    continue
            self._handle(first, data[start:stop], events)
            at = stop
            if self.closed or self._waiting:
                break
        return at

    def _handle(self, first: int, body: bytes, events: list[Event]) -> None:
        if not self.version:
            if first >> 4 != PacketType.CONNECT:
                raise protocol_error("the first packet is not CONNECT [MQTT-3.1.0-1]")
            self.version, self._packet_max = answering_version(body), self._limits.max_packet_size
            self._connect_bytes = len(body)
        elif first >> 4 == PacketType.CONNECT:  # whatever it holds: there is no telling it why it cannot connect
            raise protocol_error("a second CONNECT [MQTT-3.1.0-2]")
        if first >> 4 in _SERVERS_OWN:
            raise protocol_error(f"{PacketType(first >> 4).name} from a client")
        packet = decode(first, body, self.version)
        if (
            self.state is None
            and self._opening.authenticating
            and type(packet) not in (packets.Auth, packets.Disconnect)
        ):
            raise protocol_error(f"{PacketType(first >> 4).name} before it is authenticated [MQTT-3.1.2-30]")
        handler = self._HANDLERS.get(type(packet))
        if handler is None:
            raise protocol_error(f"{PacketType(first >> 4).name} from a client")
        handler(self, packet, events)
        if type(packet) is not Message:
            self.packets_received += 1

    def take_output(self) -> bytes:
        """The bytes to send; empty when there are none."""
        output = self._output
        if not output:
            return b""
        self.packets_sent += len(output)
        data = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        if self._outbound is not None:
            self._outbound.output_bytes = 0
        return data

    def has_output(self) -> bool:
        """Whether `take_output` would give anything, perhaps after `drained`."""
        outbound = self._outbound
        return bool(self._output) or (outbound is not None and outbound.stalled and not self.closed)

    def stalled(self) -> bool:
        """Whether messages may wait until what was taken before is with the client: `drained` is due then."""
        return self._outbound is not None and self._outbound.stalled and not self.closed

    def drained(self, now: float) -> None:
        """All that `take_output` gave before is on its way; what was held back for that is there to be taken."""
        self._now = max(self._now, now)
        if self._outbound is not None and not self.closed:
            self._outbound.drained(self._now)

    @property
    def output_bytes(self) -> int:
        """Bytes of messages to the client that `take_output` has not yet given away (acknowledgements not counted)."""
        return self._outbound.output_bytes if self._outbound is not None else 0

    # What the broker says.

    def accept(self, state: SessionState, *, present: bool, now: float, assigned_client_id: bool = False) -> None:
        """Answers CONNECT with success and takes up `state`: repeats what was in flight, sends what was queued.

        `present`: whether `state` is from an earlier connection [MQTT-3.2.2-2]. Does nothing when closed;
        RuntimeError when no CONNECT waits.
        """
        if self.closed:
            return
        agreed = self._opening.terms
        if agreed is None or self.state is not None:
            raise RuntimeError("accept without a CONNECT that waits")
        self._output.append(self._opening.connack(state.name, present=present, assigned=assigned_client_id))
        state.version, state.expiry_s = self.version, agreed.request.expiry_s
        self.state, self.client_id = state, client_id_of(state.name)
        self._heard = self._now = now
        self._inbound = Inbound(state, self.version, agreed.receive_window, self._limits, self._output)
        self._outbound = Outbound(
            state,
            self.version,
            agreed.send_window,
            agreed.send_max_bytes,
            self._output_max,
            agreed.send_aliases,
            self._output,
        )
        self._outbound.resume(now)

    def refuse(self, reason: int, text: str = "") -> None:
        """Answers CONNECT with `reason` and closes. 3.1.1 gets its nearest return code, or none at all."""
        if not self.closed:
            self._say(last_words.refusal(self.version, reason, text, self._opening.send_max_bytes))
            self.close()

    def acknowledge(self, message: Message, reason: int = 0) -> None:
        """Says that `message` (as it came out of `receive`) is durable, or refuses it with `reason` >= 0x80.

        QoS 1: PUBACK, if this connection still stands. QoS 2: marks the exchange durable, or forgets it when refused,
        and sends PUBREC to the newest connection that asked. 3.1.1 cannot refuse: it gets a plain acknowledgement.
        """
        if self._inbound is not None:
            self._inbound.acknowledge(message, reason)

    def durable(self, messages: Sequence[Message]) -> None:
        """`acknowledge` of each, with success: they are on disk, and of QoS 1 or 2."""
        if self._inbound is not None:
            self._inbound.durable(messages)

    def complete(self, packet_id: int) -> None:
        """Says that the release of a QoS 2 message is durable: PUBCOMP, to the newest connection that asked."""
        if self._inbound is not None:
            self._inbound.complete(packet_id)

    def subscribed(self, packet_id: int, reasons: Sequence[int]) -> None:
        """SUBACK; a reason (granted QoS or failure) for each subscription asked for [MQTT-3.8.4-6]."""
        self._send(packets.Suback(packet_id, tuple(reasons)))

    def unsubscribed(self, packet_id: int, reasons: Sequence[int]) -> None:
        """UNSUBACK; a reason for each filter [MQTT-3.11.3-1]."""
        self._send(packets.Unsuback(packet_id, tuple(reasons)))

    def deliver(
        self,
        message: Message,
        subscription: Subscription,
        *,
        retained: bool = False,
        expires: float | None = None,
        now: float = 0.0,
        copies: Copies | None = None,
        behind: bool = False,
    ) -> bool:
        """Sends `message` to the client, or queues it until the window or the connection allows; False: dropped.

        `retained`: it is sent because of a new subscription. `expires`: reading of `receive`'s clock after which it
        is not worth sending; then `now`, if that is later than the last `receive`, is needed too. `copies`: one for
        all calls with the same `message`. `behind`: see `Outgoing.behind`. On a closed session it is queued for the
        next one. RuntimeError before `accept`.
        """
        self._now = max(self._now, now)
        if self.state is None or self._outbound is None:
            raise RuntimeError("deliver before accept")
        if copies is not None and expires is None and not retained and not self.closed:
            relayed = self._outbound.relay(message, subscription, copies)
            if relayed is not None:
                return relayed
        item = outgoing(message, subscription, retained=retained, expires=expires)
        item.behind = behind
        if self.closed:
            return self.state.put(item, self._now)
        return self._outbound.deliver(item, self._now, copies)

    def send(self, item: Outgoing, now: float) -> bool:
        """As `deliver`, of a message that the caller goes on looking at; False: not now."""
        self._now = max(self._now, now)
        if self.state is None or self._outbound is None or self.closed:
            return False
        return self._outbound.deliver(item, self._now)

    def stored(self, now: float) -> None:
        """Says that some of what `state` has to send is on disk (`Outgoing.stored`): what waited for that goes out."""
        self._now = max(self._now, now)
        if self._outbound is not None and not self.closed:
            self._outbound.stored(self._now)

    def disconnect(self, reason: int, text: str = "") -> None:
        """Ends the connection from our side: DISCONNECT with `reason` in MQTT 5, CONNACK if that is still due."""
        if self.closed:
            return
        words = last_words.refusal if self.state is None else last_words.disconnect
        self._say(words(self.version, reason, text, self._opening.send_max_bytes))
        self.close()

    def close(self) -> None:
        """The connection is gone: nothing more in or out of it. What `state` holds stays for the next one."""
        self.closed = True
        self._buffer = bytearray()
        if self._inbound is not None:
            self._inbound.close()

    @property
    def deadline(self) -> float:
        """Reading of the clock at which the client is late: 1.5 × keep-alive [MQTT-3.1.2-22]; infinite without one."""
        agreed = self._opening.terms if self.state is not None else None
        keepalive_s = agreed.request.keepalive_s if agreed is not None else 0
        return self._heard + 1.5 * keepalive_s if keepalive_s else math.inf

    def expired(self, now: float) -> bool:
        """Whether the client is late; the broker then calls `disconnect(Reason.KEEP_ALIVE_TIMEOUT)`."""
        return now > self.deadline

    def _send(self, packet: Packet) -> None:
        """Sends an answer; one too large for the client ends the connection [MQTT-3.1.2-24]."""
        if self.closed or self._opening.terms is None:
            return
        data = encode(packet, self.version)
        if len(data) > self._opening.send_max_bytes:
            self.disconnect(Reason.IMPLEMENTATION_SPECIFIC_ERROR, "the answer is larger than the client takes")
            return
        self._output.append(data)

    def _say(self, words: bytes) -> None:
        if words:
            self._output.append(words)

    def _violated(self, error: PeerError) -> Disconnected:
        accepted = self.state is not None
        self.disconnect(error.reason, error.text)
        return Disconnected(error.reason, accepted, error.text, by_client=False)

    # What the client says: a method a packet.

    def _on_connect(self, packet: packets.Connect, events: list[Event]) -> None:
        self.client_id = packet.client_id
        self._go_on(self._opening.connect(packet), events)

    def _on_auth(self, packet: packets.Auth, events: list[Event]) -> None:
        self._go_on(self._opening.authenticate(packet, accepted=self.state is not None), events)

    def _go_on(self, opened: ConnectRequested | packets.Auth, events: list[Event]) -> None:
        if isinstance(opened, packets.Auth):
            self._send(opened)
        else:
            events.append(opened)

    def _on_publish(self, packet: Message, events: list[Event]) -> None:
        assert self._inbound is not None
        self._inbound.publish(packet, events)

    def _on_pubrel(self, packet: packets.Pubrel, events: list[Event]) -> None:
        assert self._inbound is not None
        self._inbound.released(packet, events)

    def _on_puback(self, packet: packets.Puback, events: list[Event]) -> None:
        assert self._outbound is not None
        self._outbound.acknowledged(packet, self._now)

    def _on_pubrec(self, packet: packets.Pubrec, events: list[Event]) -> None:
        assert self._outbound is not None
        self._outbound.received(packet, self._now)

    def _on_pubcomp(self, packet: packets.Pubcomp, events: list[Event]) -> None:
        assert self._outbound is not None
        self._outbound.completed(packet, self._now)

    def _on_subscribe(self, packet: packets.Subscribe, events: list[Event]) -> None:
        for one in packet.subscriptions:
            self._check_filter(one.filter)
        events.append(SubscribeRequested(packet.packet_id, packet.subscriptions, packet.properties))

    def _on_unsubscribe(self, packet: packets.Unsubscribe, events: list[Event]) -> None:
        events.append(UnsubscribeRequested(packet.packet_id, packet.filters))

    def _check_filter(self, pattern: str) -> None:
        check_filter(pattern, self._limits.topic_max_bytes, self._limits.topic_levels_max)

    def _on_pingreq(self, packet: packets.Pingreq, events: list[Event]) -> None:
        self._output.append(PINGRESP)

    def _on_disconnect(self, packet: packets.Disconnect, events: list[Event]) -> None:
        if packet.reason not in reasons.CLIENT_DISCONNECT:
            raise protocol_error(f"DISCONNECT with a server's reason: {describe(packet.reason)}")
        self._change_expiry(packet.properties)
        self.close()
        text = packet.properties.get(Property.REASON_STRING, "")
        # Only a normal disconnection discards the will [MQTT-3.14.4-3].
        events.append(Disconnected(packet.reason, packet.reason != 0, str(text)))

    def _change_expiry(self, properties: Properties) -> None:
        wanted = properties.get(Property.SESSION_EXPIRY_INTERVAL)
        if self.state is None or not isinstance(wanted, int):
            return
        if wanted and not self.state.expiry_s:
            raise protocol_error("a session without expiry is given one at its end (MQTT5 §3.14.2.2.2)")
        self.state.expiry_s = min(wanted, self._limits.session_expiry_max_s)

    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any, list[Event]], None]]] = {
        packets.Connect: _on_connect,
        Message: _on_publish,
        packets.Puback: _on_puback,
        packets.Pubrec: _on_pubrec,
        packets.Pubrel: _on_pubrel,
        packets.Pubcomp: _on_pubcomp,
        packets.Subscribe: _on_subscribe,
        packets.Unsubscribe: _on_unsubscribe,
        packets.Pingreq: _on_pingreq,
        packets.Disconnect: _on_disconnect,
        packets.Auth: _on_auth,
    }
    """What a client may send."""


def _check_type(first: int) -> None:
    """Of a packet that is not all there: what can only be wrong is not waited for."""
    if not first >> 4:
        raise malformed("packet type 0 is reserved")
