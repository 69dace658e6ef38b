"""Rates: how often an address, and a device, may connect, and how often an address may fail.

An address is an IPv4 address or an IPv6 /64, for one host has all of that. Whoever stands behind a proxy or NAT shares
his address with others, so only failures are counted there unless the configuration wants more.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable

from bridge.config import Limits
from bridge.device_side.token_bucket import Bounded, TokenBucket

OFTEN, FAILING, DEVICE = "address-rate", "address-failures", "device-rate"
_PREFIX = 64
_HOSTS = 4096
"""Hosts of which is remembered where they belong: to read an address takes longer than all else that is asked of it."""
_PAUSE_S = 1.0


class Rates:
    """For all listeners together."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        """`now`: a monotonic clock, seconds."""
        self._limits = limits
        self._now = now
        self._exempt = tuple(ipaddress.ip_network(each) for each in limits.address_exempt)
        most = limits.rates_remembered
        self._key = functools.lru_cache(_HOSTS)(self._key_of)
        self._connects = Bounded(most, lambda: self._bucket(limits.address_connects_per_s, limits.address_burst))
        self._failures = Bounded(most, lambda: Failures(limits, now()))
        self._devices = Bounded(most, lambda: self._bucket(limits.device_connects_per_s, limits.device_burst))

    def connect(self, host: str) -> tuple[str, str] | None:
        """A connection from there: why it is turned away (the reason as it is counted, and in words), or None."""
        limits = self._limits
        key = self._key(host)
        if key is None:
            return None
        failures = self._failures.known(key)
        if failures is not None and failures.paused(self._now()):
            return FAILING, f"too many failed attempts from {key} (limits.address_failures_per_s)"
        if limits.address_connects_per_s is not None and not self._connects.of(key).take_one(self._now()):
            return OFTEN, f"{key} connects more often than limits.address_connects_per_s"
        return None

    def failed(self, host: str) -> None:
        """Somebody from there was turned away for who he is or what he said."""
        key = self._key(host)
        if key is not None:
            self._failures.of(key).note(self._now())

    def device(self, device: str) -> tuple[str, str] | None:
        """A connection of this device, by its certificate: as in `connect`."""
        if self._limits.device_connects_per_s is None or self._devices.of(device).take_one(self._now()):
            return None
        return DEVICE, f"{device} connects more often than limits.device_connects_per_s"

    def _bucket(self, per_s: int | None, burst: int) -> TokenBucket:
        return TokenBucket(per_s or 1, burst, self._now())

    def _key_of(self, host: str) -> str | None:
        """None: it has no rates of its own."""
        address = _address(host)
        return None if any(address in network for network in self._exempt) else neighbourhood(host)


@functools.lru_cache(_HOSTS)
def neighbourhood(host: str) -> str:
    """Return what counts as one address: the IPv4 address, or the IPv6 /64. Raises ValueError: it is no address."""
    address = _address(host)
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, _PREFIX), strict=False))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(host.partition("%")[0].strip("[]"))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class Failures:
    """Of one address: as many a second as are allowed, then a pause that doubles each time they are too many again."""

    __slots__ = ("_bucket", "_limits", "_pause_s", "_until")

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._bucket = TokenBucket(limits.address_failures_per_s, limits.address_failures_burst, now)
        self._pause_s = 0.0
        self._until = now

    def note(self, now: float) -> None:
        """One more."""
        if now >= self._until + self._pause_s:
            self._pause_s = 0.0  # it has behaved for as long as it had to wait
        if self._bucket.take_one(now) or now < self._until:
            return
        self._pause_s = min(max(2 * self._pause_s, _PAUSE_S), self._limits.address_pause_max)
        self._until = now + self._pause_s

    def paused(self, now: float) -> bool:
        """Nobody from there is listened to now."""
        return now < self._until
