"""docs/sealed-payload-format.md, held to its word by a reader written from it: no HPKE library, none of ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge import config
from bridge.security import keys
from bridge.security.envelope import Sealer

DOCUMENT = Path(__file__).parents[3] / "docs" / "sealed-payload-format.md"
KDF_AND_AEAD = bytes.fromhex("00010002")


def extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    """RFC 9180 §4, LabeledExtract with HKDF-SHA256 (RFC 5869)."""
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + secret, "sha256")


def expand(suite: bytes, key: bytes, label: bytes, info: bytes) -> bytes:
    """RFC 9180 §4, LabeledExpand to 32 bytes: one round of HKDF-Expand."""
    return hmac.digest(key, (32).to_bytes(2, "big") + b"HPKE-v1" + suite + label + info + b"\x01", "sha256")


def exchange(scalar: bytes, point: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(point))


def public(scalar: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(scalar).public_key().public_bytes_raw()


def shared_x25519(private: bytes, enc: bytes) -> bytes:
    """RFC 9180 §4.1, Decap."""
    suite = b"KEM\x00\x20"
    secret = extract(suite, b"", b"eae_prk", exchange(private, enc))
    return expand(suite, secret, b"shared_secret", enc + public(private))


def shared_xwing(seed: bytes, enc: bytes) -> bytes:
    """draft-connolly-cfrg-xwing-kem, Decapsulate."""
    expanded = hashlib.shake_256(seed).digest(96)
    lattice, scalar = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), expanded[64:]
    parts = (lattice.decapsulate(enc[:1088]), exchange(scalar, enc[1088:]), enc[1088:], public(scalar), b"\\.//^\\")
    return hashlib.sha3_256(b"".join(parts)).digest()


SHARED = {b"\x00\x20": (32, shared_x25519), b"\x64\x7a": (1120, shared_xwing)}


def content_key(kem: bytes, private: bytes, wrapped: bytes, info: bytes) -> bytes:
    """RFC 9180 §5.1 and §6.1, OpenBase."""
    size, shared = SHARED[kem]
    suite = b"HPKE" + kem + KDF_AND_AEAD
    context = b"\x00" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    secret = extract(suite, shared(private, wrapped[:size]), b"secret", b"")
    key = expand(suite, secret, b"key", context)
    nonce_info = (12).to_bytes(2, "big") + b"HPKE-v1" + suite + b"base_nonce" + context + b"\x01"
    nonce = hmac.digest(secret, nonce_info, "sha256")[:12]
    return AESGCM(key).decrypt(nonce, wrapped[size:], b"")


def entries(block: bytes) -> dict[tuple[bytes, bytes], bytes]:
    found, rest = {}, block[1:]
    for _ in range(block[0]):
        assert rest[2:6] == KDF_AND_AEAD
        length = int.from_bytes(rest[22:24], "big")
        found[rest[:2], rest[6:22]] = rest[24 : 24 + length]
        rest = rest[24 + length :]
    assert rest == b""
    return found


def read(
    kem: bytes, key_id: bytes, private: bytes, headers: dict[str, bytes], record: tuple[str, str, int], value: bytes
) -> bytes:
    device, topic, seq = record
    assert headers["seal"] == b"1"
    block, name = headers["seal-key"], device.encode()
    key = content_key(kem, private, entries(block)[kem, key_id], b"busbridge/seal/1\x00" + name)
    associated = seq.to_bytes(8, "big") + hashlib.sha256(block).digest() + len(name).to_bytes(2, "big") + name
    return AESGCM(key).decrypt(bytes(8) + value[:4], value[4:], associated + topic.encode())


def key_file(path: Path, kind: str) -> tuple[bytes, bytes]:
    inside = path.read_text().split(f"-----BEGIN BUSBRIDGE {kind} KEY-----")[1].split("-----END")[0]
    body = base64.b64decode(inside)
    return body[:2], body[2:]


@pytest.mark.parametrize("kinds", [(False,), (True,), (True, False, True)])
def test_a_reader_written_from_the_document_opens_what_we_seal(tmp_path, kinds):
    paths = [keys.new(f"reader-{n}", tmp_path, post_quantum) for n, post_quantum in enumerate(kinds)]
    sealer = Sealer({path.stem: keys.load_public(path) for path, _ in paths}, config.Sealing(), os.urandom)
    for seq in (1, 2**40):
        headers, value = sealer.seal("dev-é", "a/b/c", seq, b"payload %d" % seq, 0.0)
        for public_path, private_path in paths:
            kem, raw = key_file(public_path, "PUBLIC")
            same_kem, private = key_file(private_path, "PRIVATE")
            assert same_kem == kem
            key_id = hashlib.sha256(kem + raw).digest()[:16]
            opened = read(kem, key_id, private, dict(headers), ("dev-é", "a/b/c", seq), value)
            assert opened == b"payload %d" % seq


def test_the_worked_example_is_true():
    text = DOCUMENT.read_text()
    facts = dict(
        re.findall(
            r"^    (private key|public key|key id|device|topic|seq|content key|payload) +(\S.*?)(?: +\(.*)?$",
            text,
            re.M,
        )
    )
    block, value = (
        bytes.fromhex("".join(re.search(rf"^{name} +([0-9a-f\s]+?)\n(?=\S)", text, re.M)[1].split()))
        for name in ("seal-key", "value")
    )
    private, raw = bytes.fromhex(facts["private key"]), bytes.fromhex(facts["public key"])
    key_id = hashlib.sha256(b"\x00\x20" + raw).digest()[:16]
    assert public(private) == raw
    assert key_id.hex() == facts["key id"]
    info = b"busbridge/seal/1\x00" + facts["device"].encode()
    assert content_key(b"\x00\x20", private, entries(block)[b"\x00\x20", key_id], info).hex() == facts["content key"]
    record = (facts["device"], facts["topic"], int(facts["seq"]))
    headers = {"seal": b"1", "seal-key": block}
    assert read(b"\x00\x20", key_id, private, headers, record, value) == facts["payload"].encode()
