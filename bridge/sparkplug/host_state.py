"""STATE: a host application says whether it is there (Sparkplug 3.0, chapter 6). It is JSON already."""

from __future__ import annotations

import msgspec

from bridge.sparkplug.errors import NotSparkplug


class HostState(msgspec.Struct, frozen=True):
    """Of one host application."""

    online: bool
    timestamp: int
    """ms since 1970: of its session, so that the will of an older one can be told apart."""


_decode = msgspec.json.Decoder(HostState).decode


def host_state(payload: bytes) -> HostState:
    """What the payload says.

    Raises:
        NotSparkplug: it is no such JSON.
    """
    try:
        return _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotSparkplug('a STATE payload is JSON like {"online": true, "timestamp": 1700000000000}') from error
