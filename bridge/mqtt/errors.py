"""What a peer did wrong. Raised inside the engine only: `Session` makes DISCONNECT and a `Disconnected` event of it."""

from __future__ import annotations

from bridge.mqtt.reasons import Reason


class PeerError(Exception):
    """The peer broke the protocol; its connection ends with `reason` (MQTT5 §4.13)."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


def malformed(text: str) -> PeerError:
    """A packet that cannot be parsed: reason 0x81."""
    return PeerError(Reason.MALFORMED_PACKET, text)


def protocol_error(text: str) -> PeerError:
    """A packet that can be parsed and must not have been sent: reason 0x82."""
    return PeerError(Reason.PROTOCOL_ERROR, text)
