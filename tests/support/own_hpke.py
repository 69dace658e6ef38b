"""HPKE base mode a second time, from RFC 9180 and HMAC alone: the oracle of what `cryptography` does for us.

Unlike a library's it takes the ephemeral key as an argument, so that test vectors can be made.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

X25519, XWING = b"\x00\x20", b"\x64\x7a"
KDF_AND_AEAD = bytes.fromhex("00010002")
"""HKDF-SHA256 and AES-256-GCM."""


def extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    """RFC 9180 §4, LabeledExtract with HKDF-SHA256 (RFC 5869)."""
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + secret, "sha256")


def expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int = 32) -> bytes:
    """RFC 9180 §4, LabeledExpand to 32 bytes at most: one round of HKDF-Expand."""
    return hmac.digest(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info + b"\x01", "sha256")[:length]


def exchange(scalar: bytes, point: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(point))


def public(scalar: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(scalar).public_key().public_bytes_raw()


def x25519_secret(dh: bytes, enc: bytes, recipient: bytes) -> bytes:
    """RFC 9180 §4.1, ExtractAndExpand."""
    suite = b"KEM" + X25519
    return expand(suite, extract(suite, b"", b"eae_prk", dh), b"shared_secret", enc + recipient)


def shared_x25519(private: bytes, enc: bytes) -> bytes:
    """RFC 9180 §4.1, Decap."""
    return x25519_secret(exchange(private, enc), enc, public(private))


def shared_xwing(seed: bytes, enc: bytes) -> bytes:
    """draft-connolly-cfrg-xwing-kem, Decapsulate."""
    expanded = hashlib.shake_256(seed).digest(96)
    lattice, scalar = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), expanded[64:]
    parts = (lattice.decapsulate(enc[:1088]), exchange(scalar, enc[1088:]), enc[1088:], public(scalar), b"\\.//^\\")
    return hashlib.sha3_256(b"".join(parts)).digest()


SHARED = {X25519: (32, shared_x25519), XWING: (1120, shared_xwing)}


def schedule(
    kem: bytes, shared: bytes, info: bytes, kdf_and_aead: bytes = KDF_AND_AEAD, key_bytes: int = 32
) -> tuple[bytes, bytes]:
    """RFC 9180 §5.1, KeySchedule in base mode: key and base nonce."""
    suite = b"HPKE" + kem + kdf_and_aead
    context = b"\x00" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    secret = extract(suite, shared, b"secret", b"")
    return expand(suite, secret, b"key", context, key_bytes), expand(suite, secret, b"base_nonce", context, 12)


def open_base(kem: bytes, private: bytes, wrapped: bytes, info: bytes) -> bytes:
    """RFC 9180 §6.1, OpenBase with an empty aad, of `enc` and the ciphertext."""
    size, shared = SHARED[kem]
    key, nonce = schedule(kem, shared(private, wrapped[:size]), info)
    return AESGCM(key).decrypt(nonce, wrapped[size:], b"")


def seal_base(ephemeral: bytes, recipient: bytes, secret: bytes, info: bytes) -> bytes:
    """RFC 9180 §6.1, SealBase with an empty aad, for an X25519 key: `enc` and the ciphertext."""
    enc = public(ephemeral)
    key, nonce = schedule(X25519, x25519_secret(exchange(ephemeral, recipient), enc, recipient), info)
    return enc + AESGCM(key).encrypt(nonce, secret, b"")
