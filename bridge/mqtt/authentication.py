"""Extended authentication: who shows by AUTH packets who it is, once at CONNECT and again when it likes (MQTT5 §4.12).

The methods are the caller's: a table of them, empty unless somebody fills it. Here are the rules of the exchange only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from bridge.mqtt import packets
from bridge.mqtt.errors import PeerError, protocol_error
from bridge.mqtt.packets import Properties
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason


class NotAuthenticated(Exception):
    """The client is not who it says; the text goes to the log, and as Reason String to the client."""


class Step(msgspec.Struct, frozen=True):
    """What a method says to the client."""

    data: bytes | None
    done: bool
    """The client is who it says; else it is to go on."""


class Proof(Protocol):
    """One exchange of a method with one client."""

    def step(self, data: bytes | None) -> Step:
        """`data`: what the client said. Raises NotAuthenticated."""


Methods = Mapping[str, Callable[[str], Proof]]
"""By name as in CONNECT; makes a fresh exchange for a client id, which is what is to be proved."""


class Authentication:
    """Of one connection."""

    def __init__(self, name: str, begin: Callable[[], Proof]) -> None:
        self._name = name
        self._begin = begin
        self._proof: Proof | None = begin()

    @classmethod
    def of(cls, connect: packets.Connect, methods: Methods) -> Authentication | None:
        """For a CONNECT that names a method; PeerError where that is not offered [MQTT-4.12.0-1]."""
        name = connect.properties.get(Property.AUTHENTICATION_METHOD)
        if name is None:
            return None
        method = methods.get(str(name))
        if method is None:
            raise PeerError(Reason.BAD_AUTHENTICATION_METHOD, "this authentication method is not offered")
        return cls(str(name), lambda: method(connect.client_id))

    @property
    def open(self) -> bool:
        """It is the client's turn."""
        return self._proof is not None

    def connect(self, packet: packets.Connect) -> packets.Auth:
        """The answer to CONNECT, of which success is said by CONNACK [MQTT-4.12.0-2]."""
        return self._step(packet.properties)

    def answer(self, packet: packets.Auth, *, accepted: bool) -> packets.Auth:
        """The answer to AUTH; `accepted`: CONNACK has been said. PeerError for one that is out of turn or refused."""
        if packet.properties.get(Property.AUTHENTICATION_METHOD) != self._name:
            raise protocol_error("AUTH with another method than CONNECT [MQTT-4.12.0-5] [MQTT-4.12.1-1]")
        if packet.reason == Reason.RE_AUTHENTICATE and accepted and not self.open:
            self._proof = self._begin()
        elif packet.reason != Reason.CONTINUE_AUTHENTICATION or not self.open:
            raise protocol_error("AUTH out of turn (MQTT5 §3.15.2.1)")
        return self._step(packet.properties)

    def _step(self, properties: Properties) -> packets.Auth:
        data = properties.get(Property.AUTHENTICATION_DATA)
        assert self._proof is not None
        try:
            step = self._proof.step(data if isinstance(data, bytes) else None)
        except NotAuthenticated as error:
            raise PeerError(Reason.NOT_AUTHORIZED, f"not authenticated: {error} [MQTT-4.12.0-4]") from error
        if step.done:
            self._proof = None
        said: Properties = {Property.AUTHENTICATION_METHOD: self._name}
        if step.data is not None:
            said[Property.AUTHENTICATION_DATA] = step.data
        return packets.Auth(Reason.SUCCESS if step.done else Reason.CONTINUE_AUTHENTICATION, said)
