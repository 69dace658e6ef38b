"""docs/sealed-payload-format.md, held to its word by a reader written from it: no HPKE library, none of ours."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge import config
from bridge.security import keys
from bridge.security.envelope import Sealer
from tests.support.own_hpke import KDF_AND_AEAD, open_base, public

DOCUMENT = Path(__file__).parents[3] / "docs" / "sealed-payload-format.md"


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
    key = open_base(kem, private, entries(block)[kem, key_id], b"busbridge/seal/1\x00" + name)
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
    assert open_base(b"\x00\x20", private, entries(block)[b"\x00\x20", key_id], info).hex() == facts["content key"]
    record = (facts["device"], facts["topic"], int(facts["seq"]))
    headers = {"seal": b"1", "seal-key": block}
    assert read(b"\x00\x20", key_id, private, headers, record, value) == facts["payload"].encode()
