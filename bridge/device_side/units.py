"""Units: which organizational units the certificates of known clients name, kept as long as their sessions are.

A session that waits and a will that is due after a restart are judged without a connection, so without a certificate.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import msgspec

from bridge.device_side.cold import ColdStore
from bridge.security.acl import Acl

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, ...]).decode


class Units:
    """Tells the ACL, and the store. There are no more of them than sessions."""

    def __init__(self, acl: Acl, cold: ColdStore) -> None:
        """Takes up what the last daemon knew."""
        self._acl = acl
        self._cold = cold
        self._known = {device: _decode(body) for device, body in cold.load("units")}
        for device, units in self._known.items():
            acl.enrol(device, units)

    def enrol(self, device: str, units: Sequence[str]) -> bool:
        """The device comes with this certificate. On disk by the store's next commit. True: it is news."""
        if self._acl.units(device) == frozenset(units):
            return False
        self._acl.enrol(device, units)
        self._cold.put("units", device, _encode(units) if units else None)
        return True

    def forget(self, device: str) -> None:
        """Its sessions are over, its wills published."""
        self.enrol(device, ())

    def retain_only(self, devices: Container[str]) -> None:
        """At start, when the wills of sessions that are over have been published: forgets all but these."""
        gone = [device for device in self._known if device not in devices]
        self._known.clear()
        for device in gone:
            self.forget(device)
