"""Sealer and Opener: payloads that only their recipients can read. `open_record` is the way in for readers.

A content key per (device, recipients) seals with AES-256-GCM; HPKE wraps it for each recipient's public key, and that
block travels in a header of every record, so that every record opens on its own. The bytes are written down in
docs/sealed-payload-format.md. Pure: randomness, time and keys are arguments.

It does not prove who sealed (anybody who has the public key can), and it does not hide how long a payload is. What
devices seal themselves is made in `device_seal`, and opened here.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge import config
from bridge.security.recipient import KEY_ID_BYTES, PrivateKey, PublicKey, WrongKeyError, suite_id

VERSION = b"1"
"""The value of the `seal` header: the version of the format. This one is what gateways seal."""
DEVICE_VERSION = b"2"
"""What devices seal."""
HEADER_SEAL = "seal"
HEADER_KEY = "seal-key"
HEADER_DEVICE = "device"
"""Of records whose key is not the device id."""

CONTENT_KEY_BYTES = 32
RECIPIENTS_MAX = 255
COUNTER_MAX = (1 << 32) - 1
"""Payloads under one content key: the nonce counts in 32 bits (NIST SP 800-38D §8.3 allows no more than 2**32)."""

_INFO = b"busbridge/seal/"
_COUNTER = struct.Struct(">I")
_SEQ = struct.Struct(">Q")
_ENTRY = struct.Struct(f">6s{KEY_ID_BYTES}sH")
_NONCE_BYTES = 12
_NONCE_FIXED = bytes(8)
_TAG_BYTES = 16

Headers = tuple[tuple[str, bytes], ...]


class SealError(Exception):
    """A sealed payload cannot be opened; the message says why in plain words."""


class NotARecipientError(SealError):
    """None of the given private keys is among those it was sealed for."""


class AlteredError(SealError):
    """Payload, headers, device, topic or sequence number are not what was sealed."""


def content_key_info(device: str, version: bytes = VERSION) -> bytes:
    """Return HPKE's `info` for the content key of `device`: it opens as this device's key or not at all.

    With the version in it, what a gateway sealed cannot be passed off as a device's own, nor the other way round.
    """
    return _INFO + version + b"\x00" + device.encode()


def key_block(recipients: Iterable[PublicKey], content_key: bytes, info: bytes) -> bytes:
    """Return the value of the `seal-key` header: the content key, wrapped for each recipient."""
    parts = []
    for recipient in recipients:
        wrapped = recipient.wrap(content_key, info)
        parts.append(_ENTRY.pack(suite_id(recipient.kem), recipient.id, len(wrapped)) + wrapped)
    return bytes((len(parts),)) + b"".join(parts)


def associated_data(block: bytes, device: str) -> bytes:
    """Return the part of AES-GCM's associated data that stays the same while a content key, and so its block, lives.

    What follows it is the topic; what precedes it is the number. With the device's length in front of it
    and the topic last, no two different triples give the same bytes.
    """
    encoded = device.encode()
    return hashlib.sha256(block).digest() + struct.pack(">H", len(encoded)) + encoded


class Seals(Protocol):
    """What makes of a payload what goes to the disk: a `Sealer`, or a guard that takes sealed ones only."""

    def seal(self, device: str, topic: str, seq: int, payload: bytes, now: float) -> tuple[Headers, bytes]:
        """See `Sealer.seal`. Raises SealError for a payload that may not pass."""


class _Stream:
    """One content key at work: encrypts a bounded number of payloads until its time is up."""

    __slots__ = ("associated", "count", "encrypt", "expires", "headers")

    def __init__(self, key: bytes, headers: Headers, associated: bytes, expires: float) -> None:
        self.encrypt = AESGCM(key).encrypt
        self.headers = headers
        self.associated = associated
        self.expires = expires
        self.count = 0


class Sealer:
    """Seals for one set of recipients. Not thread-safe; one a route, in the one thread that appends."""

    def __init__(
        self, recipients: Mapping[str, PublicKey], limits: config.Sealing, random: Callable[[int], bytes]
    ) -> None:
        """Take the recipients' public keys by name and `random(n)`, which gives n unpredictable bytes.

        Raises:
            ValueError: there is no recipient, or more than 255.
        """
        if not 1 <= len(recipients) <= RECIPIENTS_MAX:
            raise ValueError(f"a payload is sealed for 1 to {RECIPIENTS_MAX} recipients, not for {len(recipients)}")
        self._recipients = tuple(recipients.values())
        self._count_max = min(limits.key_max_messages, COUNTER_MAX)
        self._age_max = limits.key_max_age
        self._streams_max = limits.streams_max
        self._random = random
        self._streams: OrderedDict[str, _Stream] = OrderedDict()

    def seal(self, device: str, topic: str, seq: int, payload: bytes, now: float) -> tuple[Headers, bytes]:
        """Return the headers (the same tuple while the content key lives) and the sealed payload, 20 bytes longer.

        `now` is seconds of any clock that does not go back.
        """
        stream = self._streams.get(device)
        if stream is None or stream.count >= self._count_max or now >= stream.expires:
            stream = self._open_stream(device, now)
        else:
            self._streams.move_to_end(device)
        stream.count += 1  # before it is used: a nonce is never taken twice, whatever fails behind it
        counter = _COUNTER.pack(stream.count)
        associated = _SEQ.pack(seq) + stream.associated + topic.encode()
        return stream.headers, counter + stream.encrypt(_NONCE_FIXED + counter, payload, associated)

    def _open_stream(self, device: str, now: float) -> _Stream:
        key = self._random(CONTENT_KEY_BYTES)
        block = key_block(self._recipients, key, content_key_info(device))
        headers = ((HEADER_SEAL, VERSION), (HEADER_KEY, block))
        stream = _Stream(key, headers, associated_data(block, device), now + self._age_max)
        self._streams.pop(device, None)
        self._streams[device] = stream
        if len(self._streams) > self._streams_max:
            self._streams.popitem(last=False)
        return stream


def parse_key_block(block: bytes) -> dict[bytes, bytes]:
    """Return what the `seal-key` header holds: suite id + key id of each recipient → the wrapped content key.

    Raises:
        SealError: it is not such a block.
    """
    if not block:
        raise SealError("the seal-key header is empty")
    entries: dict[bytes, bytes] = {}
    position = 1
    for _ in range(block[0]):
        if position + _ENTRY.size > len(block):
            raise SealError("the seal-key header is cut short")
        suite, key_id, length = _ENTRY.unpack_from(block, position)
        position += _ENTRY.size + length
        entries[suite + key_id] = block[position - length : position]
    if position != len(block):
        raise SealError("the seal-key header is cut short, or something follows it")
    return entries


class Opener:
    """Opens payloads sealed for any of its private keys; remembers the content keys it has met (least recent go)."""

    def __init__(self, private_keys: Sequence[PrivateKey], content_keys_max: int = 1024) -> None:
        self._private_keys = {suite_id(key.kem) + key.public.id: key for key in private_keys}
        self._content_keys_max = content_keys_max
        self._content_keys: OrderedDict[tuple[str, bytes, bytes], AESGCM] = OrderedDict()

    def open(self, headers: Mapping[str, bytes], device: str, topic: str, seq: int, sealed: bytes) -> bytes:
        """Return the payload that `device` published on `topic`.

        `seq` is the record's number, under which the gateway sealed; what a device sealed does not depend on it.

        Raises:
            NotARecipientError: it was sealed for others.
            AlteredError: anything of it is not as it was sealed.
            SealError: it is not sealed in a format this version knows.
        """
        version, block = _seal_of(headers)
        counter_bytes = _SEQ.size if version == DEVICE_VERSION else _COUNTER.size
        if len(sealed) < counter_bytes + _TAG_BYTES:
            raise AlteredError(f"{len(sealed)} bytes are too short for a sealed payload")
        counter = sealed[:counter_bytes]
        number = counter if version == DEVICE_VERSION else _SEQ.pack(seq)
        associated = number + associated_data(block, device) + topic.encode()
        try:
            key = self._content_key(device, version, block)
            return key.decrypt(counter.rjust(_NONCE_BYTES, b"\x00"), sealed[counter_bytes:], associated)
        except InvalidTag as error:
            raise AlteredError("payload, headers, device, topic or sequence number are not what was sealed") from error

    def _content_key(self, device: str, version: bytes, block: bytes) -> AESGCM:
        known = self._content_keys.get((device, version, block))
        if known is not None:
            self._content_keys.move_to_end((device, version, block))
            return known
        key = AESGCM(self._unwrap(content_key_info(device, version), block))
        opened = self._content_keys[device, version, block] = key
        if len(self._content_keys) > self._content_keys_max:
            self._content_keys.popitem(last=False)
        return opened

    def _unwrap(self, info: bytes, block: bytes) -> bytes:
        entries = parse_key_block(block)
        for name, private_key in self._private_keys.items():
            if name in entries:
                try:
                    return private_key.unwrap(entries[name], info)
                except WrongKeyError as error:
                    raise AlteredError("the seal-key header or the device is not what was sealed") from error
        ids = ", ".join(name[-KEY_ID_BYTES:].hex() for name in entries)
        raise NotARecipientError(f"it was sealed for other keys: {ids}")


def _seal_of(headers: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    version = headers.get(HEADER_SEAL)
    if version is None:
        raise SealError("it is not sealed: there is no seal header")
    if version not in (VERSION, DEVICE_VERSION):
        raise SealError(f"it is sealed in format {version!r}, which this version does not know")
    if HEADER_KEY not in headers:
        raise SealError("there is no seal-key header")
    return version, headers[HEADER_KEY]


def open_sealed(
    private_key: PrivateKey, headers: Mapping[str, bytes], device: str, topic: str, seq: int, sealed: bytes
) -> bytes:
    """Open one sealed payload; for many, keep an `Opener`, which is much quicker. Raises as `Opener.open` does."""
    return Opener([private_key]).open(headers, device, topic, seq, sealed)


class Opened(NamedTuple):
    """What a reader gets of a sealed record."""

    payload: bytes
    """As the device published it, or as it was before the device sealed it."""
    device: str
    topic: str
    """The MQTT topic."""
    number: int | None
    """Where the device itself sealed: its own number, which rises from payload to payload, so that a record with the
    number of an earlier one is a repetition. None where the gateway sealed: there the header `seq` is that number."""


def open_record(
    opener: Opener,
    headers: Mapping[str, bytes] | Iterable[tuple[str, bytes]],
    key: bytes | None,
    value: bytes | None,
    *,
    topic: str | None = None,
    seq: int | None = None,
) -> Opened:
    """Open one record as a Kafka client hands it over: headers, key and value, sealed by a gateway or by a device.

    Args:
        opener: keep it from record to record: it remembers content keys, which is most of the work.
        headers: the record's headers.
        key: the record's key, which is the device id unless the header `device` says it.
        value: the record's value.
        topic: the MQTT topic; by default the header `mqtt-topic` says it.
        seq: the record's number; by default the header `seq` says it.

    Raises:
        NotARecipientError: it was sealed for others.
        AlteredError: anything of it is not as it was sealed; device, topic and number included.
        SealError: it is not sealed, not in a format this version knows, or a header that it takes is missing.
    """
    known = dict(headers)
    version, _ = _seal_of(known)
    try:
        device = known.get(HEADER_DEVICE, key or b"").decode()
        if topic is None:
            topic = known["mqtt-topic"].decode()
        if seq is None:
            seq = int(known["seq"]) if version == VERSION else 0
    except (KeyError, ValueError) as error:
        raise SealError(f"a header that opening takes is missing or wrong: {error}") from error
    sealed = value or b""
    if not 0 <= seq < 1 << 64:
        raise SealError(f"{seq} is no sequence number")
    payload = opener.open(known, device, topic, seq, sealed)
    return Opened(payload, device, topic, _SEQ.unpack_from(sealed)[0] if version == DEVICE_VERSION else None)
