"""Writes docs/sealed-payload-vectors.json: `python -m tests.support.seal_vectors`.

What has an X25519 recipient comes out the same each time; a post-quantum one draws randomness that cannot be given.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge.security.recipient import PrivateKey
from tests.support import own_hpke

PATH = Path(__file__).parents[2] / "docs" / "sealed-payload-vectors.json"
CLASSIC, POST_QUANTUM = 0x0020, 0x647A
CASES: tuple[tuple[str, int, str, str, int, int, bytes, tuple[int, ...]], ...] = (
    ("a gateway's, one recipient", 1, "dev-00001", "devices/dev-00001/telemetry/t", 42, 1, b'{"t": 21.5}', (CLASSIC,)),
    ("a gateway's, empty", 1, "dev-00001", "devices/dev-00001/telemetry/t", 43, 2, b"", (CLASSIC,)),
    ("a gateway's, two recipients", 1, "größe", "a/ü", 2**63, 2**32 - 1, bytes(range(256)), (CLASSIC, CLASSIC)),
    ("a gateway's, post-quantum too", 1, "d", "t", 0, 7, b"payload", (CLASSIC, POST_QUANTUM)),
    ("a device's, one recipient", 2, "dev-00001", "devices/dev-00001/a", 2**32 + 1, 0, b'{"t": 21.5}', (CLASSIC,)),
    ("a device's, empty, the last number", 2, "d", "t", 2**64 - 1, 0, b"", (CLASSIC,)),
    ("a device's, three recipients", 2, "größe", "a/ü", 1, 0, bytes(range(256)), (CLASSIC,) * 3),
    ("a device's, post-quantum", 2, "dev-00001", "devices/dev-00001/t", 5, 0, b"payload", (POST_QUANTUM,)),
)  # fmt: skip


def secret(*name: object) -> bytes:
    """32 bytes that look random and are always the same."""
    return hashlib.sha256(repr(name).encode()).digest()


def vector(
    name: str, version: int, device: str, topic: str, number: int, counter: int, payload: bytes, kems: tuple[int, ...]
) -> dict[str, Any]:
    content_key = secret(name, "content key")
    info = b"busbridge/seal/%d\x00" % version + device.encode()
    recipients = [recipient(name, index, kem, content_key, info) for index, kem in enumerate(kems)]
    block = bytes((len(kems),)) + b"".join(entry(each) for each in recipients)
    nonce = struct.pack(">4xQ", number) if version == 2 else struct.pack(">8xI", counter)
    associated = struct.pack(">Q", number) + hashlib.sha256(block).digest()
    associated += struct.pack(">H", len(device.encode())) + device.encode() + topic.encode()
    value = nonce[-8 if version == 2 else -4 :] + AESGCM(content_key).encrypt(nonce, payload, associated)
    made: dict[str, Any] = {
        "name": name, "version": version, "device": device, "topic": topic, "number": str(number),
        "payload": payload.hex(), "content_key": content_key.hex(), "info": info.hex(), "recipients": recipients,
        "key_block": block.hex(), "nonce": nonce.hex(), "associated_data": associated.hex(), "value": value.hex(),
    }  # fmt: skip
    if version == 2:
        made["published"] = (b"\xf5BBS2" + struct.pack(">H", len(block)) + block + value).hex()
    return made


def recipient(name: str, index: int, kem: int, content_key: bytes, info: bytes) -> dict[str, str]:
    key = PrivateKey(kem, secret(name, "recipient", index))
    made = {"kem": f"{kem:04x}", "private_key": key.secret.hex(), "public_key": key.public.raw.hex()}
    made["key_id"] = key.public.id.hex()
    if kem == CLASSIC:
        ephemeral = secret(name, "ephemeral", index)
        made["enc_private"] = ephemeral.hex()
        made["wrapped"] = own_hpke.seal_base(ephemeral, key.public.raw, content_key, info).hex()
    else:
        made["wrapped"] = key.public.wrap(content_key, info).hex()
    return made


def entry(made: dict[str, str]) -> bytes:
    wrapped = bytes.fromhex(made["wrapped"])
    suite = bytes.fromhex(made["kem"]) + own_hpke.KDF_AND_AEAD
    return suite + bytes.fromhex(made["key_id"]) + struct.pack(">H", len(wrapped)) + wrapped


def main() -> None:
    PATH.write_text(json.dumps([vector(*case) for case in CASES], indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
