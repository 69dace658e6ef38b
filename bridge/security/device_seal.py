"""Payloads that devices seal themselves: the sealing of a device, and the guard that lets nothing else pass.

A device has no sequence number of the gateway's log, and MQTT 3.1.1 no headers. So the payload carries all that it
takes: version, key block, the device's own number. The guard splits it into the same headers and value as what a
gateway sealed. The bytes are written down in docs/sealed-payload-format.md. Pure.

The guard cannot tell whether the seal opens, nor who sealed: it holds no key. It sees that the form is right and that
one of the route's recipients is among those it was sealed for.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge.security.envelope import (
    CONTENT_KEY_BYTES,
    DEVICE_VERSION,
    HEADER_KEY,
    HEADER_SEAL,
    Headers,
    SealError,
    associated_data,
    content_key_info,
    key_block,
    parse_key_block,
)
from bridge.security.recipient import ENC_BYTES, TAG_BYTES, PublicKey, suite_id

MAGIC = b"\xf5BBS" + DEVICE_VERSION
"""How a sealed payload begins: a byte that no text in UTF-8 has, three letters, the version."""
DEVICE_RECIPIENTS_MAX = 16
"""What the guard remembers of a device is bounded by it: 19 KB at most."""
NUMBER_MAX = (1 << 64) - 1

_BLOCK_BYTES = struct.Struct(">H")
_NUMBER = struct.Struct(">Q")
_HEAD_BYTES = len(MAGIC) + _BLOCK_BYTES.size
_NONCE_FIXED = bytes(4)


class NotSealedError(SealError):
    """A payload is not sealed by its device for anybody who is known; the text holds nothing of the payload."""


class DeviceSealer:
    """Seals as a device does. Not thread-safe."""

    def __init__(
        self,
        device: str,
        recipients: Sequence[PublicKey],
        random: Callable[[int], bytes],
        *,
        last_number: int = 0,
        key_max_payloads: int = 100_000,
    ) -> None:
        """Args:
        device: the device id, as the gateway knows it.
        recipients: who can open it.
        random: `random(n)` gives n unpredictable bytes.
        last_number: no number up to this one is used; a device must not fall behind it, whatever happens to it.
        key_max_payloads: under one content key.

        Raises:
            ValueError: there is no recipient, or more than 16.
        """
        if not 1 <= len(recipients) <= DEVICE_RECIPIENTS_MAX:
            raise ValueError(f"a device seals for 1 to {DEVICE_RECIPIENTS_MAX} recipients, not for {len(recipients)}")
        self._device = device
        self._recipients = tuple(recipients)
        self._random = random
        self._number = last_number
        self._key_max_payloads = key_max_payloads
        self._left = 0
        self._encrypt: Callable[[bytes, bytes, bytes], bytes]
        self._head = self._associated = b""

    def seal(self, topic: str, payload: bytes) -> bytes:
        """Return what to publish on `topic`.

        Raises:
            OverflowError: all numbers are used up.
        """
        if self._left == 0:
            self._take_key(self._random(CONTENT_KEY_BYTES))
        if self._number >= NUMBER_MAX:
            raise OverflowError("a device has 2**64 - 1 numbers, and they are used up")
        self._left -= 1
        self._number += 1  # before it is used: it is the nonce, which is never taken twice
        number = _NUMBER.pack(self._number)
        associated = number + self._associated + topic.encode()
        return self._head + number + self._encrypt(_NONCE_FIXED + number, payload, associated)

    def _take_key(self, key: bytes) -> None:
        block = key_block(self._recipients, key, content_key_info(self._device, DEVICE_VERSION))
        self._encrypt = AESGCM(key).encrypt
        self._head = MAGIC + _BLOCK_BYTES.pack(len(block)) + block
        self._associated = associated_data(block, self._device)
        self._left = self._key_max_payloads


class SealedByDevice:
    """The guard of a route that takes sealed payloads only; stands where a `Sealer` would. Not thread-safe."""

    def __init__(self, recipients: Iterable[PublicKey], devices_max: int) -> None:
        """Args:
        recipients: one of them at least has to be among those a payload is sealed for.
        devices_max: so many devices' last key blocks are remembered, the least recently used goes first.
        """
        self._known = {
            suite_id(key.kem) + key.id: ENC_BYTES[key.kem] + CONTENT_KEY_BYTES + TAG_BYTES for key in recipients
        }
        self._devices_max = devices_max
        self._last: OrderedDict[str, tuple[bytes, Headers]] = OrderedDict()

    def seal(self, device: str, topic: str, seq: int, payload: bytes, now: float) -> tuple[Headers, bytes]:
        """Return the headers (the same tuple while a device keeps its content key) and the sealed value.

        Raises:
            NotSealedError: it is not sealed, or for nobody who is known.
        """
        if not payload.startswith(MAGIC) or len(payload) < _HEAD_BYTES:
            raise NotSealedError("the payload is not sealed")
        end = _HEAD_BYTES + _BLOCK_BYTES.unpack_from(payload, len(MAGIC))[0]
        if len(payload) < end + _NUMBER.size + TAG_BYTES:
            raise NotSealedError("the sealed payload is cut short")
        block = payload[_HEAD_BYTES:end]
        last = self._last.get(device)
        if last is None or last[0] != block:
            self._check(block)
            last = self._remember(device, block)
        return last[1], payload[end:]

    def _check(self, block: bytes) -> None:
        try:
            entries = parse_key_block(block)
        except SealError as error:
            raise NotSealedError(f"the payload is not sealed as it should be: {error}") from error
        if block[0] > DEVICE_RECIPIENTS_MAX:
            raise NotSealedError(
                f"the payload is sealed for {block[0]} recipients, {DEVICE_RECIPIENTS_MAX} are allowed"
            )
        if not any(len(wrapped) == self._known.get(name) for name, wrapped in entries.items()):
            raise NotSealedError("the payload is sealed for nobody whom this route knows")

    def _remember(self, device: str, block: bytes) -> tuple[bytes, Headers]:
        self._last.pop(device, None)
        if len(self._last) >= self._devices_max:
            self._last.popitem(last=False)
        last = self._last[device] = (block, ((HEADER_SEAL, DEVICE_VERSION), (HEADER_KEY, block)))
        return last
