"""PublicKey and PrivateKey: who can open sealed payloads, and the two HPKE suites they use.

Pure but for the randomness that HPKE itself draws inside `cryptography`. Files are the business of `keys`.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

X25519 = 0x0020
"""KEM identifier of DHKEM(X25519, HKDF-SHA256), RFC 9180 §7.1."""
MLKEM768_X25519 = 0x647A
"""KEM identifier of MLKEM768-X25519, which is X-Wing (draft-ietf-hpke-pq, draft-connolly-cfrg-xwing-kem)."""
KEMS = (X25519, MLKEM768_X25519)

HKDF_SHA256 = 0x0001
AES_256_GCM = 0x0002

SECRET_BYTES = 32
"""Of a private key of either KEM: an X25519 scalar, or the seed of X-Wing."""
KEY_ID_BYTES = 16

ENC_BYTES = {X25519: 32, MLKEM768_X25519: 1120}
"""Of the encapsulated key (`enc`) of each KEM, which precedes what is wrapped."""
TAG_BYTES = 16

_MLKEM768_PUBLIC_BYTES = 1184


class WrongKeyError(Exception):
    """What was wrapped does not open with this private key: another recipient's, or altered."""


def suite_id(kem: int) -> bytes:
    """Return the 6 bytes that name the suite: KEM, KDF and AEAD identifiers, big endian (RFC 9180 §5.1)."""
    return struct.pack(">HHH", kem, HKDF_SHA256, AES_256_GCM)


def _suite(kem: int) -> Suite:
    return Suite(KEM.X25519 if kem == X25519 else KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True)
class PublicKey:
    """One recipient's public key.

    `raw` is its serialization in the KEM's own standard: 32 bytes for X25519, 1,216 for MLKEM768-X25519 (ML-KEM key,
    then X25519 key).
    """

    kem: int
    raw: bytes
    sizes: ClassVar[dict[int, int]] = {X25519: 32, MLKEM768_X25519: _MLKEM768_PUBLIC_BYTES + 32}

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown KEM, or a key that is none."""
        if len(self.raw) != self.sizes.get(self.kem):
            raise ValueError(f"not a public key: KEM 0x{self.kem:04x}, {len(self.raw)} bytes")
        self.wrap(b"", b"")  # a point of low order must be found when it is loaded, not at the first message

    @cached_property
    def id(self) -> bytes:
        """16 bytes that name the key in a sealed record: the beginning of SHA-256(KEM id, big endian, and `raw`)."""
        return hashlib.sha256(struct.pack(">H", self.kem) + self.raw).digest()[:KEY_ID_BYTES]

    @cached_property
    def _key(self) -> x25519.X25519PublicKey | MLKEM768X25519PublicKey:
        if self.kem == X25519:
            return x25519.X25519PublicKey.from_public_bytes(self.raw)
        post_quantum, classic = self.raw[:_MLKEM768_PUBLIC_BYTES], self.raw[_MLKEM768_PUBLIC_BYTES:]
        return MLKEM768X25519PublicKey(
            mlkem.MLKEM768PublicKey.from_public_bytes(post_quantum), x25519.X25519PublicKey.from_public_bytes(classic)
        )

    def wrap(self, secret: bytes, info: bytes) -> bytes:
        """Return `enc` and the ciphertext of `secret` (HPKE base mode, single shot, empty aad; RFC 9180 §6.1)."""
        return _suite(self.kem).encrypt(secret, self._key, info)


@dataclass(frozen=True)
class PrivateKey:
    """One recipient's private key: 32 secret bytes. Its repr does not show them."""

    kem: int
    secret: bytes

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown KEM or a wrong length."""
        if self.kem not in KEMS or len(self.secret) != SECRET_BYTES:
            raise ValueError(f"not a private key: KEM 0x{self.kem:04x}, {len(self.secret)} bytes")

    def __repr__(self) -> str:
        """Name the key by its id only."""
        return f"PrivateKey(id={self.public.id.hex()})"

    @cached_property
    def public(self) -> PublicKey:
        """The key to give to gateways."""
        if self.kem == X25519:
            return PublicKey(self.kem, self._classic.public_key().public_bytes_raw())
        post_quantum, classic = self._hybrid
        return PublicKey(
            self.kem, post_quantum.public_key().public_bytes_raw() + classic.public_key().public_bytes_raw()
        )

    @cached_property
    def _classic(self) -> x25519.X25519PrivateKey:
        return x25519.X25519PrivateKey.from_private_bytes(self.secret)

    @cached_property
    def _hybrid(self) -> tuple[mlkem.MLKEM768PrivateKey, x25519.X25519PrivateKey]:
        """Expand the seed as X-Wing does (draft-connolly-cfrg-xwing-kem), so that its other libraries read it."""
        expanded = hashlib.shake_256(self.secret).digest(96)
        return (
            mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
            x25519.X25519PrivateKey.from_private_bytes(expanded[64:]),
        )

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """Return the secret that `PublicKey.wrap` wrapped under the same `info`.

        Raises:
            WrongKeyError: it was not wrapped for this key, or was altered.
        """
        key = self._classic if self.kem == X25519 else MLKEM768X25519PrivateKey(*self._hybrid)
        try:
            return _suite(self.kem).decrypt(wrapped, key, info)
        except (InvalidTag, ValueError) as error:
            raise WrongKeyError("the content key does not open with this private key") from error
