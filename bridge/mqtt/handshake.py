"""CONNECT and CONNACK: what the client asked for, what it gets (MQTT5 §3.1, §3.2). Who may connect is the broker's."""

from __future__ import annotations

import msgspec

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.encode import encode
from bridge.mqtt.errors import PeerError
from bridge.mqtt.events import ConnectRequested, Will
from bridge.mqtt.inbound import is_as_said
from bridge.mqtt.packets import Properties
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from bridge.mqtt.wire import VARINT_MAX

EXPIRY_NEVER_S = 0xFFFF_FFFF
"""MQTT5 §3.1.2.11.2; also what clean session 0 means in 3.1.1."""
PACKET_IDS = 0xFFFF
"""The Receive Maximum of who names none (MQTT5 §3.1.2.11.3): as many as there are packet identifiers."""
PACKET_SIZE_MAX = VARINT_MAX + 5
ASSIGNED_ID_MAX = 23
"""Bytes of a client id that the broker makes up: what every server has to take [MQTT-3.1.3-5]."""


class Terms(msgspec.Struct, frozen=True):
    """What holds on one connection once it is accepted."""

    request: ConnectRequested
    send_window: int
    """QoS 1 and 2 messages that may be on their way to the client."""
    send_max_bytes: int
    """Of one packet to the client [MQTT-3.1.2-24]."""
    send_aliases: int
    """Topics that may have an alias on the way to the client [MQTT-3.1.2-26]."""
    receive_window: int
    """QoS 1 and 2 messages that the client may have on the way to us."""
    properties: Properties
    """Of CONNACK."""


def terms(connect: packets.Connect, limits: Mqtt) -> Terms:
    """Settles a CONNECT; PeerError for one that is refused whoever sends it."""
    if not connect.client_id and (connect.version == 3 or (connect.version == 4 and not connect.clean_start)):
        raise PeerError(Reason.CLIENT_IDENTIFIER_NOT_VALID, "no client id, and none can be assigned [MQTT-3.1.3-8]")
    will = _will(connect)
    if will is not None and limits.check_payload_format and not is_as_said(will.message):
        raise PeerError(Reason.PAYLOAD_FORMAT_INVALID, "a will that is called UTF-8 is not")
    request = ConnectRequested(
        client_id=connect.client_id,
        clean_start=connect.clean_start,
        version=connect.version,
        keepalive_s=_keepalive(connect, limits),
        expiry_s=min(_wanted_expiry(connect), limits.session_expiry_max_s),
        will=will,
        username=connect.username,
        password=connect.password,
        properties=connect.properties,
    )
    offer = _offer(connect, request, limits) if connect.version >= 5 else {}
    _check_room(connect, offer)
    return Terms(
        request,
        send_window=min(_number(connect.properties, Property.RECEIVE_MAXIMUM, PACKET_IDS), limits.inflight_max),
        send_max_bytes=packet_size_max(connect),
        send_aliases=min(_number(connect.properties, Property.TOPIC_ALIAS_MAXIMUM, 0), limits.topic_alias_maximum),
        receive_window=limits.receive_maximum if connect.version >= 5 else PACKET_IDS,
        properties=offer,
    )


def packet_size_max(connect: packets.Connect) -> int:
    """Bytes of the largest packet the client takes [MQTT-3.1.2-24]."""
    return _number(connect.properties, Property.MAXIMUM_PACKET_SIZE, PACKET_SIZE_MAX)


def _check_room(connect: packets.Connect, offer: Properties) -> None:
    """CONNACK holds our limits and cannot leave them out: the client would take the standard's defaults for ours."""
    assigned: Properties = {} if connect.client_id else {Property.ASSIGNED_CLIENT_IDENTIFIER: "x" * ASSIGNED_ID_MAX}
    if len(encode(packets.Connack(0, False, offer | assigned), connect.version)) > packet_size_max(connect):
        raise PeerError(Reason.PACKET_TOO_LARGE, "")


def _number(properties: Properties, identifier: Property, default: int) -> int:
    value = properties.get(identifier, default)
    return value if isinstance(value, int) else default


def _keepalive(connect: packets.Connect, limits: Mqtt) -> int:
    """Only MQTT 5 can be told another one than it asked for [MQTT-3.2.2-21]."""
    asked, most = connect.keepalive_s, limits.keepalive_max_s
    return most if connect.version >= 5 and most and (not asked or asked > most) else asked


def _wanted_expiry(connect: packets.Connect) -> int:
    if connect.version >= 5:
        return _number(connect.properties, Property.SESSION_EXPIRY_INTERVAL, 0)
    return 0 if connect.clean_start else EXPIRY_NEVER_S


def _will(connect: packets.Connect) -> Will | None:
    if connect.will is None:
        return None
    delay_s = _number(connect.will_properties, Property.WILL_DELAY_INTERVAL, 0)
    properties = {key: value for key, value in connect.will_properties.items() if key != Property.WILL_DELAY_INTERVAL}
    will = connect.will
    return Will(Message(will.topic, will.payload, will.qos, will.retain, properties=properties or None), delay_s)


def _offer(connect: packets.Connect, request: ConnectRequested, limits: Mqtt) -> Properties:
    offer: Properties = {
        Property.RECEIVE_MAXIMUM: limits.receive_maximum,
        Property.MAXIMUM_PACKET_SIZE: limits.max_packet_size,
        Property.TOPIC_ALIAS_MAXIMUM: limits.topic_alias_maximum,
        Property.SHARED_SUBSCRIPTION_AVAILABLE: 1,
    }
    if request.keepalive_s != connect.keepalive_s:
        offer[Property.SERVER_KEEP_ALIVE] = request.keepalive_s
    if request.expiry_s != _wanted_expiry(connect):
        offer[Property.SESSION_EXPIRY_INTERVAL] = request.expiry_s
    return offer
