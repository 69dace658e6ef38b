"""QoS 1 and 2 in both directions while the byte stream is cut anywhere, connections drop and the daemon restarts.

The oracle is the promise itself: at QoS 2 exactly once, at QoS 1 at least once, in order, acknowledged means durable,
and never more in flight than the receiver allows.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.events import ConnectRequested, Disconnected, Released
from bridge.mqtt.framing import PacketStream
from bridge.mqtt.session import Session
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription
from tests.unit.mqtt.device import RECEIVE_MAXIMUM, Device

LIMITS = Mqtt(receive_maximum=3, inflight_max=2)
ALL = Subscription("#", 2)
_QOS = st.integers(1, 2)
_CUT = st.just(10_000) | st.integers(1, 60)


class Gateway:
    """The server's side: a session, its state, and a log that becomes durable when it is told to."""

    def __init__(self, version: int) -> None:
        self.state = SessionState("d", version, 1000, LIMITS)
        self.session: Session | None = None
        self.appended: list[tuple[Session, Message | Released]] = []
        self.log: list[bytes] = []
        self.hand_shakes: set[int] = set()
        """Durable: QoS 2 ids whose message is in the log and whose release is not."""

    def take(self, data: bytes) -> None:
        """Bytes from the device."""
        session = self.session
        assert session is not None
        for event in session.receive(data, 0.0):
            if isinstance(event, ConnectRequested):
                session.accept(self.state, present=True, now=0.0)
                self.take(b"")
            else:
                assert not isinstance(event, Disconnected), event.text
                assert isinstance(event, Message | Released)
                self.appended.append((session, event))

    def commit(self, count: int) -> None:
        """The oldest `count` records become durable; only then they are acknowledged."""
        done, self.appended = self.appended[:count], self.appended[count:]
        for session, event in done:
            if isinstance(event, Released):
                self.hand_shakes.discard(event.packet_id)
                session.complete(event.packet_id)
                continue
            self.log.append(event.payload)
            if event.qos == 2:
                self.hand_shakes.add(event.packet_id)
            session.acknowledge(event)

    def restart(self) -> None:
        """What was not durable is gone; hand-shakes come from the log."""
        self.appended = []
        self.session = None
        self.state = SessionState("d", self.state.version, 1000, LIMITS)
        self.state.restore_incoming(self.hand_shakes)


class Wire:
    """What has crossed between the two, read by nobody else's count: the server's use of the client's window."""

    def __init__(self, version: int) -> None:
        self._said, self._heard = PacketStream(version), PacketStream(version)
        self._open: set[int] = set()

    def said(self, data: bytes) -> None:
        """From the server; before it hears anything more."""
        for packet in self._said.feed(data):
            if isinstance(packet, Message) and packet.qos:
                assert packet.packet_id not in self._open, "a packet identifier that is in use"
                self._open.add(packet.packet_id)
                assert len(self._open) <= RECEIVE_MAXIMUM

    def heard(self, data: bytes) -> None:
        """From the client, as the server is about to hear it."""
        for packet in self._heard.feed(data):
            if isinstance(packet, packets.Puback | packets.Pubcomp):
                self._open.discard(packet.packet_id)


class Delivery(RuleBasedStateMachine):
    """Rules: what can happen. Invariants: what must hold whatever has happened."""

    @initialize(version=st.sampled_from([4, 5]))
    def start(self, version: int) -> None:
        self.device = Device(version)
        self.gateway = Gateway(version)
        self.to_device = bytearray()
        self.published: list[bytes] = []
        self.delivered: list[bytes] = []
        self.numbers = 0

    def _payload(self, qos: int) -> bytes:
        self.numbers += 1
        return b"%d:%d" % (qos, self.numbers)

    @property
    def _up(self) -> bool:
        return self.gateway.session is not None

    @rule(qos=_QOS)
    def publish(self, qos: int) -> None:
        self.published.append(self._payload(qos))
        self.device.publish(Message("up", self.published[-1], qos))

    @rule(qos=_QOS)
    def deliver(self, qos: int) -> None:
        self.delivered.append(self._payload(qos))
        message = Message("down", self.delivered[-1], qos)
        session = self.gateway.session
        if session is None or session.state is None:
            assert self.gateway.state.enqueue(message, ALL, 0.0)
        else:
            assert session.deliver(message, ALL)

    @precondition(lambda self: not self._up)
    @rule()
    def connect(self) -> None:
        self.gateway.session = Session(LIMITS)
        self.wire = Wire(self.device.version)
        self.to_device.clear()
        self.device.connect()

    @precondition(lambda self: self._up)
    @rule(cut=_CUT)
    def bytes_up(self, cut: int) -> None:
        self._collect()
        data, self.device.sent = bytes(self.device.sent[:cut]), self.device.sent[cut:]
        self.wire.heard(data)
        self.gateway.take(data)

    @precondition(lambda self: self._up)
    @rule(cut=_CUT)
    def bytes_down(self, cut: int) -> None:
        self._collect()
        data, self.to_device = bytes(self.to_device[:cut]), self.to_device[cut:]
        self.device.take(data)

    def _collect(self) -> None:
        assert self.gateway.session is not None
        said = self.gateway.session.take_output()
        self.wire.said(said)
        self.to_device += said

    @rule(count=st.integers(1, 3))
    def commit(self, count: int) -> None:
        self.gateway.commit(count)

    @precondition(lambda self: self._up)
    @rule()
    def lose_connection(self) -> None:
        assert self.gateway.session is not None
        self.gateway.session.close()
        self.gateway.session = None
        self.device.lose()

    @rule(turns=st.integers(1, 3))
    def connect_anew(self, turns: int) -> None:
        """A new connection and a few turns on it: what is repeated meets what is not yet durable."""
        if self._up:
            self.lose_connection()
        self.connect()
        for _ in range(turns):
            self.bytes_up(10_000)
            self.bytes_down(10_000)

    @precondition(lambda self: not (self.gateway.state.in_flight or self.gateway.state.queue or self.device.unreleased))
    @rule()
    def restart_daemon(self) -> None:
        """Only while nothing is on its way down: what a restart keeps of that is the cold store's."""
        if self.gateway.session is not None:
            self.gateway.session.close()
        self.device.lose()
        self.gateway.restart()

    @invariant()
    def acknowledged_means_durable(self) -> None:
        assert set(self.device.acknowledged) <= set(self.gateway.log)

    @invariant()
    def exactly_once_at_qos_2_and_in_order(self) -> None:
        _check(self.gateway.log, self.published)
        _check(self.device.received, self.delivered)

    @invariant()
    def windows_are_kept(self) -> None:
        """Ours; the engine itself ends a connection whose client oversteps its own, and `Gateway.take` would tell."""
        assert len(self.gateway.state.in_flight) <= RECEIVE_MAXIMUM

    def teardown(self) -> None:
        """Left alone, everything arrives."""
        if not self._up:
            self.connect()
        for _ in range(20 * (self.numbers + 2)):
            self.bytes_up(1000)
            self.gateway.commit(100)
            self.bytes_down(1000)
            if not self._unfinished():
                break
        assert not self._unfinished()
        assert set(self.gateway.log) == set(self.published) == set(self.device.acknowledged)
        assert set(self.device.received) == set(self.delivered)
        _check(self.gateway.log, self.published)
        _check(self.device.received, self.delivered)

    def _unfinished(self) -> list[object]:
        state, device = self.gateway.state, self.device
        places = (state.incoming, state.in_flight, state.queue, device.in_flight, device.outbox, device.unreleased)
        return [place for place in places if place] + ([] if device.connected else ["no connection"])


def _check(got: list[bytes], sent: list[bytes]) -> None:
    """QoS 2 has no doubles; without the doubles of QoS 1 what has come is the beginning of what was sent."""
    exactly_once = [payload for payload in got if payload.startswith(b"2:")]
    assert len(exactly_once) == len(set(exactly_once))
    first_seen = list(dict.fromkeys(got))
    assert first_seen == sent[: len(first_seen)]


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=max(200, settings().max_examples), stateful_step_count=60, deadline=None)
