"""Opening: what is said on one connection until it is accepted (CONNECT, AUTH, CONNACK), and AUTH after that."""

from __future__ import annotations

import math

from bridge.config import Mqtt
from bridge.mqtt import packets
from bridge.mqtt.authentication import Authentication, Methods
from bridge.mqtt.encode import encode
from bridge.mqtt.errors import PeerError, protocol_error
from bridge.mqtt.events import ConnectRequested
from bridge.mqtt.handshake import Terms, packet_size_max, terms
from bridge.mqtt.packets import Properties
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session_name import client_id_of, device_of


class Opening:
    """The server's part of it."""

    __slots__ = ("_authentication", "_granted", "_limits", "_methods", "send_max_bytes", "terms")

    def __init__(self, limits: Mqtt, methods: Methods) -> None:
        self.terms: Terms | None = None
        """From CONNECT on."""
        self.send_max_bytes: float = math.inf
        """Of one packet to the client; known from CONNECT on."""
        self._limits = limits
        self._methods = methods
        self._authentication: Authentication | None = None
        self._granted: Properties = {}
        """What its method says with CONNACK."""

    @property
    def authenticating(self) -> bool:
        """It is the client's turn to show who it is."""
        return self._authentication is not None and self._authentication.open

    @property
    def complete(self) -> bool:
        """The client has said what CONNACK needs."""
        return self.terms is not None and not self.authenticating

    def connect(self, packet: packets.Connect) -> ConnectRequested | packets.Auth:
        """CONNECT: the broker's event, or AUTH that comes before it. PeerError for one that is refused."""
        self.send_max_bytes = packet_size_max(packet)
        agreed = self.terms = terms(packet, self._limits)
        self._authentication = Authentication.of(packet, self._methods)
        if self._authentication is None:
            return agreed.request
        return self._go_on(self._authentication.connect(packet), agreed)

    def authenticate(self, packet: packets.Auth, *, accepted: bool) -> ConnectRequested | packets.Auth:
        """AUTH: as `connect`; `accepted`: CONNACK has been said. PeerError for one that is out of turn or refused."""
        if self._authentication is None or self.terms is None:
            raise protocol_error("AUTH, and CONNECT named no method [MQTT-4.12.0-6]")
        answer = self._authentication.answer(packet, accepted=accepted)
        return answer if accepted else self._go_on(answer, self.terms)

    def connack(self, name: str, *, present: bool, assigned: bool) -> bytes:
        """The answer that lets the client in, to the session of that name. RuntimeError before CONNECT."""
        if self.terms is None:
            raise RuntimeError("CONNACK without a CONNECT")
        request, properties = self.terms.request, self.terms.properties | self._granted
        if assigned:
            properties[Property.ASSIGNED_CLIENT_IDENTIFIER] = client_id_of(name)
        pattern = self._limits.response_information
        if pattern is not None and request.properties.get(Property.REQUEST_RESPONSE_INFORMATION):
            told = properties | {Property.RESPONSE_INFORMATION: pattern.replace("{device}", device_of(name))}
            connack = encode(packets.Connack(0, present, told), request.version)
            if len(connack) <= self.send_max_bytes:  # it is the only one that may be left out
                return connack
        return encode(packets.Connack(0, present, properties), request.version)

    def _go_on(self, answer: packets.Auth, agreed: Terms) -> ConnectRequested | packets.Auth:
        """AUTH, or where that would end the first authentication CONNECT's event: CONNACK says it."""
        if answer.reason:
            return answer
        self._granted = answer.properties
        connack = encode(packets.Connack(0, False, agreed.properties | self._granted), agreed.request.version)
        if len(connack) > self.send_max_bytes:
            raise PeerError(Reason.PACKET_TOO_LARGE, "")
        return agreed.request
