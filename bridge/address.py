"""HOST:PORT, where an IPv6 host stands in brackets. Resolves no names."""

from __future__ import annotations

import ipaddress
import re

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[^\s\[\]:/]+)):(?P<port>[0-9]{1,5})", re.ASCII)


class AddressError(ValueError):
    """A text that is no HOST:PORT."""


def split_address(address: str) -> tuple[str, int]:
    """Return the host, without brackets, and the port (0 to 65,535). Raises AddressError."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise AddressError("not HOST:PORT")
    port = int(match["port"])
    if port > 65_535:
        raise AddressError(f"there is no port {port}")
    return match["six"] or match["host"], port


def is_loopback(address: str) -> bool:
    """Say whether only this machine can reach `address`. Raises AddressError."""
    host, _ = split_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
