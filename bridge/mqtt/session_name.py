"""What a session goes by: its device, and the client id where that is another. Pure.

A device has one session for each client id it comes with; where the client id is the device id, as it is unless the
listener takes others, the name is that alone.
"""

from __future__ import annotations

from typing import Final

_SEPARATOR: Final = "\0"
"""No MQTT string holds it [MQTT-1.5.4-2], so no client id reads like the name of another device's session."""


def session_name(device: str, client_id: str) -> str:
    """Return the name of the session that `device` has with this client id."""
    return device if client_id == device else f"{device}{_SEPARATOR}{client_id}"


def device_of(name: str) -> str:
    """Return whose session it is."""
    return name.partition(_SEPARATOR)[0]


def client_id_of(name: str) -> str:
    """Return the client id."""
    device, _, client_id = name.partition(_SEPARATOR)
    return client_id or device
