"""Reason codes of MQTT 5 (§2.4), where each may stand, and what MQTT 3.1.1 says instead.

No behaviour lives here: which code answers which mistake is decided where the mistake is found.
"""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """Every reason code of MQTT 5 §2.4; 0x80 and above are failures."""

    SUCCESS = 0x00
    NORMAL_DISCONNECTION = 0x00
    GRANTED_QOS_0 = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


_REFUSALS = (0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
_SERVER_DISCONNECT = (0x00, *range(0x80, 0x84), 0x87, 0x89, 0x8B, *range(0x8D, 0x91), *range(0x93, 0xA3))

CONNACK = frozenset((0x00, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, *range(0x99, 0x9E), 0x9F))
"""MQTT5 §3.2.2.2."""
PUBLISH_ANSWER = frozenset((0x00, 0x10, *_REFUSALS))
"""PUBACK and PUBREC: MQTT5 §3.4.2.1, §3.5.2.1."""
RELEASE = frozenset((0x00, 0x92))
"""PUBREL and PUBCOMP: MQTT5 §3.6.2.1, §3.7.2.1."""
SUBACK = frozenset((0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2))
"""MQTT5 §3.9.3."""
UNSUBACK = frozenset((0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91))
"""MQTT5 §3.11.3."""
CLIENT_DISCONNECT = frozenset((0x00, 0x04, *range(0x80, 0x84), 0x90, *range(0x93, 0x9A)))
"""What a client may say in DISCONNECT: MQTT5 §3.14.2.1."""
DISCONNECT = CLIENT_DISCONNECT | frozenset(_SERVER_DISCONNECT)
AUTH = frozenset((0x00, 0x18, 0x19))
"""MQTT5 §3.15.2.1."""

_RETURN_CODES = {
    Reason.SUCCESS: 0,
    Reason.UNSUPPORTED_PROTOCOL_VERSION: 1,
    Reason.CLIENT_IDENTIFIER_NOT_VALID: 2,
    Reason.SERVER_UNAVAILABLE: 3,
    Reason.SERVER_BUSY: 3,
    Reason.SERVER_SHUTTING_DOWN: 3,
    Reason.QUOTA_EXCEEDED: 3,
    Reason.USE_ANOTHER_SERVER: 3,
    Reason.SERVER_MOVED: 3,
    Reason.CONNECTION_RATE_EXCEEDED: 3,
    Reason.BAD_USER_NAME_OR_PASSWORD: 4,
    Reason.NOT_AUTHORIZED: 5,
    Reason.BANNED: 5,
    Reason.BAD_AUTHENTICATION_METHOD: 5,
}


def return_code(reason: int) -> int | None:
    """The CONNACK return code of MQTT 3.1.1 (§3.2.2.3) for `reason`; None: close without CONNACK [MQTT-3.2.2-6]."""
    return _RETURN_CODES.get(Reason(reason))


def describe(reason: int) -> str:
    """`reason` in plain words, e.g. "receive maximum exceeded"; a number that is no reason code as hexadecimal."""
    try:
        return Reason(reason).name.lower().replace("_", " ")
    except ValueError:
        return f"0x{reason:02x}"
