"""Noise, mutated packets and illegal sequences, between things that a broker does, in any order and cut anywhere.

Whatever comes: no exception leaves the session, what it holds stays within the limits, and once the connection is gone
not a byte is looked at any more.
"""

from __future__ import annotations

import gc
import sys
from types import FrameType, FunctionType, ModuleType

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.encode import encode
from bridge.mqtt.events import (
    ConnectRequested,
    Disconnected,
    Event,
    Released,
    SubscribeRequested,
    UnsubscribeRequested,
)
from bridge.mqtt.framing import PacketStream
from bridge.mqtt.session import Session
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription
from tests.unit.mqtt.test_noise import VALID

LIMITS = Mqtt(
    max_packet_size=2048,
    receive_maximum=4,
    inflight_max=4,
    queue_max_messages=4,
    queue_max_bytes=2048,
    topic_cache_max=4,
    topic_alias_maximum=2,
    topic_max_bytes=64,
    subscriptions_max=4,
)
HELD_MAX_BYTES = 16 * 1024
"""A session, its state and all they refer to: a buffer, a queue and windows of the sizes above, and their objects."""
CALLS_WHEN_GONE = 4
"""Python functions that run for bytes on a connection that is gone."""
_CUTS = st.lists(st.integers(1, 200), max_size=6)
_EDITS = st.lists(
    st.tuples(st.sampled_from(("set", "insert", "delete", "flip")), st.integers(0, 400), st.integers(0, 255)),
    min_size=1,
    max_size=5,
)
_LEAVES = (type, ModuleType, FunctionType, FrameType, Mqtt)


def footprint(*roots: object) -> int:
    """Bytes of all that can be reached from here; not code, nor the configuration, which is everybody's."""
    seen: dict[int, object] = {}
    waiting: list[object] = list(roots)
    while waiting:
        each = waiting.pop()
        if id(each) not in seen and not isinstance(each, _LEAVES):
            seen[id(each)] = each
            waiting += gc.get_referents(each)
    return sum(map(sys.getsizeof, seen.values()))


def mutated(data: bytes, edits: list[tuple[str, int, int]]) -> bytes:
    """With bytes set, put in, taken out, or one bit of them turned."""
    found = bytearray(data)
    for kind, place, value in edits:
        at = place % (len(found) + 1)
        if kind == "insert":
            found[at:at] = bytes([value])
        elif kind == "delete":
            del found[at : at + 1 + value % 4]
        elif at < len(found):
            found[at] = value if kind == "set" else found[at] ^ 1 << value % 8
    return bytes(found)


class Noise(RuleBasedStateMachine):
    """One client id and its connections, one after the other."""

    @initialize(version=st.sampled_from((4, 5)))
    def start(self, version: int) -> None:
        self.state = SessionState("c", version, 1000, LIMITS)
        self.version = version
        self.unanswered: list[tuple[Session, Message | Released]] = []
        self.connect(tidy=True)

    @rule(tidy=st.booleans())
    def connect(self, tidy: bool) -> None:
        """A new connection, with a good CONNECT or with none yet."""
        self.session, self.open = Session(LIMITS), True
        self.completed = 0
        if tidy:
            self._give(encode(packets.Connect("c", False, self.version), self.version), [])

    @rule(noise=st.binary(min_size=1, max_size=300), cuts=_CUTS)
    def byte_noise(self, noise: bytes, cuts: list[int]) -> None:
        self._give(noise, cuts)

    @rule(first=st.integers(0x10, 0xFF), body=st.binary(max_size=120), cuts=_CUTS)
    def noise_in_a_frame(self, first: int, body: bytes, cuts: list[int]) -> None:
        """A length that is right lets it come further."""
        self._give(bytes((first, len(body))) + body, cuts)

    @rule(first=st.sampled_from((0x10, 0x30, 0x82)), length=st.sampled_from((b"\xf0\x0f", b"\xff\xff\xff\x7f")))
    def a_packet_that_does_not_end(self, first: int, length: bytes) -> None:
        """As long as allowed, or much longer."""
        self._give(bytes((first,)) + length, [])
        for _ in range(100):
            self._give(bytes(1000), [])

    @rule(chosen=st.lists(st.sampled_from(VALID), min_size=1, max_size=4), edits=_EDITS, cuts=_CUTS)
    def mutated_packets(self, chosen: list[packets.Packet], edits: list[tuple[str, int, int]], cuts: list[int]) -> None:
        self._give(mutated(b"".join(encode(packet, self.version) for packet in chosen), edits), cuts)

    @rule(chosen=st.lists(st.sampled_from(VALID), min_size=1, max_size=8), cuts=_CUTS)
    def packets_in_any_order(self, chosen: list[packets.Packet], cuts: list[int]) -> None:
        self._give(b"".join(encode(packet, self.version) for packet in chosen), cuts)

    @rule(
        kind=st.sampled_from((packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp)),
        number=st.integers(1, 9),
    )
    def an_answer_to_whatever(self, kind: type[packets.Puback], number: int) -> None:
        self._give(encode(kind(number), self.version), [])

    @rule(number=st.integers(1, 9), size=st.integers(0, 1900), qos=st.integers(0, 2), name=st.text(max_size=20))
    def a_publication(self, number: int, size: int, qos: int, name: str) -> None:
        topic = "".join(each for each in name if each.isprintable() and each not in "+#") or "t"
        self._give(encode(Message(topic, bytes(size), qos, packet_id=number if qos else 0), self.version), [])

    @precondition(lambda self: self.session.state is not None)
    @rule(qos=st.integers(0, 2), size=st.integers(0, 1500))
    def deliver(self, qos: int, size: int) -> None:
        self.session.deliver(Message("down/topic", bytes(size), qos), Subscription("#", 2))

    @rule(count=st.integers(1, 4))
    def become_durable(self, count: int) -> None:
        done, self.unanswered = self.unanswered[:count], self.unanswered[count:]
        for session, event in done:
            if isinstance(event, Message):
                session.acknowledge(event)
            else:
                session.complete(event.packet_id)

    @rule()
    def send(self) -> None:
        """What it says is well-formed; of every PUBCOMP the client makes room in its window (MQTT5 §4.9)."""
        said = PacketStream(self.session.version or self.version).feed(self.session.take_output())
        self.completed += sum(isinstance(packet, packets.Pubcomp) for packet in said)

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        self.send()  # what waits to be sent is the connection's to bound
        assert footprint(self.session, self.state) < HELD_MAX_BYTES
        assert len(self.state.in_flight) <= LIMITS.inflight_max
        assert len(self.state.queue) <= LIMITS.queue_max_messages
        assert self.state.queue_bytes <= LIMITS.queue_max_bytes

    @invariant()
    def no_more_waits_for_an_answer_than_the_client_was_told(self) -> None:
        if self.session.version == 5:
            self.send()
            waiting = [event for session, event in self.unanswered if session is self.session]
            most = LIMITS.receive_maximum + self.completed  # a PUBCOMP to a stray PUBREL counts, too
            assert sum(isinstance(event, Message) and event.qos > 0 for event in waiting) <= most

    @precondition(lambda self: self.session.closed)
    @invariant()
    def nothing_happens_on_a_connection_that_is_gone(self) -> None:
        calls = 0

        def count(_frame: FrameType, what: str, _argument: object) -> None:
            nonlocal calls
            calls += what == "call"

        self.session.take_output()  # the last words
        sys.setprofile(count)
        try:
            events = self.session.receive(b"\xc0\0" * 5000, 1.0)
            said = self.session.take_output()
        finally:
            sys.setprofile(None)
        assert (events, said) == ([], b"")
        assert calls <= CALLS_WHEN_GONE

    def _give(self, data: bytes, cuts: list[int]) -> None:
        for cut in [*cuts, len(data)]:
            part, data = data[:cut], data[cut:]
            events = self.session.receive(part, 0.0)
            ends = [number for number, event in enumerate(events) if isinstance(event, Disconnected)]
            assert ends in ([], [len(events) - 1]), "the end is said once, and last"
            assert self.session.closed == (not self.open or bool(ends))
            self.open = not self.session.closed
            for event in events:
                self._respond(event)

    def _respond(self, event: Event) -> None:
        """A broker that takes everything; what is to be durable waits."""
        session = self.session
        if isinstance(event, ConnectRequested):
            self.version = event.version
            session.accept(self.state, present=True, now=0.0)
            for more in session.receive(b"", 0.0):
                self.open = not session.closed
                self._respond(more)
        elif isinstance(event, Message | Released):
            self.unanswered.append((session, event))
        elif isinstance(event, SubscribeRequested):
            session.subscribed(event.packet_id, [one.qos for one in event.subscriptions])
        elif isinstance(event, UnsubscribeRequested):
            session.unsubscribed(event.packet_id, [0] * len(event.filters))
        self.open = not session.closed


TestNoise = Noise.TestCase
TestNoise.settings = settings(max_examples=max(100, settings().max_examples), stateful_step_count=30, deadline=None)
