"""How a device came: what its document says of the connection beside the times. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final

import msgspec

_PROTOCOLS = {3: "mqtt-3.1", 4: "mqtt-3.1.1", 5: "mqtt-5"}


class Arrival(msgspec.Struct, frozen=True):
    """See `documents.Presence`, whose fields these are; None: nobody knows."""

    address: str | None = None
    protocol: str | None = None
    session: str | None = None


UNKNOWN: Final = Arrival()


def arrival_of(peer: str, version: int, *, resumed: bool) -> Arrival:
    """`peer` is HOST:PORT, or whatever else a connection calls its far end; `version` is CONNECT's protocol level."""
    return Arrival(_address_class(peer), _PROTOCOLS.get(version), "resumed" if resumed else "new")


def _address_class(peer: str) -> str:
    """A class only: whoever reads the topic need not know where each device is."""
    host = peer.rpartition(":")[0].strip("[]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "other"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    return "private" if address.is_private else "public"
