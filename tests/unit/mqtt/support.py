"""The other end of a session, for tests: packets in, packets out, over real bytes."""

from __future__ import annotations

from bridge.config import Mqtt
from bridge.mqtt import packets
from bridge.mqtt.encode import encode
from bridge.mqtt.events import ConnectRequested, Event
from bridge.mqtt.framing import PacketStream
from bridge.mqtt.packets import Packet
from bridge.mqtt.session import Session
from bridge.mqtt.session_state import SessionState

LIMITS = Mqtt()


class Link:
    """A session and the packets that went over it."""

    def __init__(self, version: int = 5, limits: Mqtt = LIMITS) -> None:
        self.version = version
        self.limits = limits
        self.session = Session(limits)
        self.now = 0.0
        self._stream = PacketStream(version)

    def connect(self, state: SessionState | None = None, **fields: object) -> Link:
        """CONNECT and its acceptance; with `state` the session goes on."""
        defaults: dict[str, object] = {"client_id": "c", "version": self.version, "clean_start": state is None}
        (request,) = self.send(packets.Connect(**(defaults | fields)))  # type: ignore[arg-type]
        assert isinstance(request, ConnectRequested)
        self.session.accept(
            state or SessionState(request.client_id, self.version, request.expiry_s, self.limits),
            present=state is not None,
            now=self.now,
        )
        return self

    @property
    def state(self) -> SessionState:
        """The session's state; it must be connected."""
        assert self.session.state is not None
        return self.session.state

    def send(self, *sent: Packet) -> list[Event]:
        """The events that the packets cause."""
        return self.send_bytes(b"".join(encode(packet, self.version) for packet in sent))

    def send_bytes(self, data: bytes) -> list[Event]:
        """The events that the bytes cause."""
        return self.session.receive(data, self.now)

    def answers(self) -> list[Packet]:
        """The packets the session has to say."""
        return list(self._stream.feed(self.session.take_output()))
