"""Vectors: RFC 9180's for the HPKE that seals, and our own, which a program in any language can be held against."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from bridge.security.device_seal import SealedByDevice
from bridge.security.envelope import AlteredError, Headers, Opener, open_record
from bridge.security.recipient import PrivateKey
from tests.support import own_hpke, seal_vectors

SOURCE = Path(__file__).parents[3] / "docs" / "examples" / "seal.c"
VECTORS: list[dict[str, Any]] = json.loads(seal_vectors.PATH.read_text())
BY_DEVICE = [each for each in VECTORS if each["version"] == 2]
CLASSIC = [each for each in BY_DEVICE if all("enc_private" in one for one in each["recipients"])]
RFC9180_A_1_1 = {
    "info": "4f6465206f6e2061204772656369616e2055726e",
    "skEm": "52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736",
    "skRm": "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
    "pkRm": "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d",
    "enc": "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
    "shared_secret": "fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc",
    "key": "4531685d41d65f03dc48f6b8302c05b0",
    "base_nonce": "56d890e5accaaf011cff4b7d",
    "pt": "4265617574792069732074727574682c20747275746820626561757479",
    "aad": "436f756e742d30",
    "ct": "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a",
}
"""Appendix A.1.1, the first encryption: our KEM and KDF. For this KEM with AES-256-GCM the RFC has no vector."""
AES_128_GCM = bytes.fromhex("00010001")


def named(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def rfc(name: str) -> bytes:
    return bytes.fromhex(RFC9180_A_1_1[name])


def test_the_second_implementation_keeps_to_rfc_9180() -> None:
    assert own_hpke.public(rfc("skEm")) == rfc("enc")
    assert own_hpke.public(rfc("skRm")) == rfc("pkRm")
    from_sender = own_hpke.x25519_secret(own_hpke.exchange(rfc("skEm"), rfc("pkRm")), rfc("enc"), rfc("pkRm"))
    assert from_sender == own_hpke.shared_x25519(rfc("skRm"), rfc("enc")) == rfc("shared_secret")
    key, nonce = own_hpke.schedule(own_hpke.X25519, from_sender, rfc("info"), AES_128_GCM, 16)
    assert (key, nonce) == (rfc("key"), rfc("base_nonce"))
    assert AESGCM(key).encrypt(nonce, rfc("pt"), rfc("aad")) == rfc("ct")


def test_the_library_keeps_to_rfc_9180() -> None:
    """It takes no aad, so the vector's key seals its text once more, without."""
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM)
    sealed = rfc("enc") + AESGCM(rfc("key")).encrypt(rfc("base_nonce"), rfc("pt"), b"")
    private = X25519PrivateKey.from_private_bytes(rfc("skRm"))
    assert suite.decrypt(sealed, private, rfc("info")) == rfc("pt")


def test_library_and_second_implementation_open_what_the_other_sealed_with_our_suite() -> None:
    reader, ephemeral = PrivateKey(0x0020, seal_vectors.secret("r")), seal_vectors.secret("e")
    assert reader.unwrap(own_hpke.seal_base(ephemeral, reader.public.raw, b"secret", b"info"), b"info") == b"secret"
    assert (
        own_hpke.open_base(own_hpke.X25519, reader.secret, reader.public.wrap(b"secret", b"info"), b"info") == b"secret"
    )


def readers(vector: dict[str, Any]) -> list[PrivateKey]:
    return [PrivateKey(int(each["kem"], 16), bytes.fromhex(each["private_key"])) for each in vector["recipients"]]


def record(vector: dict[str, Any], published: bytes | None = None) -> tuple[Headers, bytes]:
    """Headers and value as they are in Kafka; of a device's payload as the gateway splits it."""
    if vector["version"] == 2:
        guard = SealedByDevice([each.public for each in readers(vector)], 1)
        published = bytes.fromhex(vector["published"]) if published is None else published
        headers, value = guard.seal(vector["device"], vector["topic"], 1, published, 0.0)
    else:
        headers, value = (
            (("seal", b"1"), ("seal-key", bytes.fromhex(vector["key_block"]))),
            bytes.fromhex(vector["value"]),
        )
    return (*headers, ("mqtt-topic", vector["topic"].encode()), ("seq", vector["number"].encode())), value


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_every_recipient_opens_each_vector(vector: dict[str, Any]) -> None:
    headers, value = record(vector)
    assert value.hex() == vector["value"]
    for reader in readers(vector):
        opened = open_record(Opener([reader]), headers, vector["device"].encode(), value)
        assert opened.payload.hex() == vector["payload"]
        assert opened.number == (int(vector["number"]) if vector["version"] == 2 else None)
    with pytest.raises(AlteredError):
        open_record(Opener([reader]), headers, b"another device", value)


@pytest.mark.parametrize("case", seal_vectors.CASES, ids=lambda case: case[0])
def test_the_file_holds_what_the_document_says(case: tuple[Any, ...]) -> None:
    """Made anew by the second implementation; what draws randomness is taken as the file has it."""
    (known,) = [each for each in VECTORS if each["name"] == case[0]]
    made = seal_vectors.vector(*case)
    if seal_vectors.POST_QUANTUM in case[-1]:
        for each in ("recipients", "key_block", "associated_data", "value", "published"):
            made.pop(each, None), known.pop(each, None)
    assert made == known


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The device in C from docs/examples."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler (Debian: gcc)")
    binary = tmp_path_factory.mktemp("seal") / "seal"
    done = subprocess.run(
        [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", binary, SOURCE, "-lcrypto"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "openssl/" in done.stderr and "No such file" in done.stderr:
        pytest.skip("OpenSSL's headers are not there (Debian: libssl-dev)")
    assert done.returncode == 0, done.stderr
    return binary


def sealed(program: Path, vector: dict[str, Any], *options: str) -> bytes:
    keys = [each["public_key"] for each in vector["recipients"]]
    command = [program, *options, "--", vector["device"], vector["topic"], vector["number"], *keys]
    done = subprocess.run(command, input=bytes.fromhex(vector["payload"]), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("vector", CLASSIC, ids=named)
def test_a_device_in_c_seals_as_the_vectors_have_it(program: Path, vector: dict[str, Any]) -> None:
    given = [option for each in vector["recipients"] for option in ("-e", each["enc_private"])]
    assert sealed(program, vector, "-c", vector["content_key"], *given).hex() == vector["published"]


@pytest.mark.parametrize("vector", CLASSIC, ids=named)
def test_what_a_device_in_c_seals_with_keys_of_its_own_opens(program: Path, vector: dict[str, Any]) -> None:
    one, other = (record(vector, sealed(program, vector)) for _ in range(2))
    assert one != other
    for headers, value in (one, other):
        opened = open_record(Opener(readers(vector)[-1:]), headers, vector["device"].encode(), value)
        assert opened.payload.hex() == vector["payload"]


@pytest.mark.parametrize(
    "arguments", [[], ["dev", "t", "1"], ["dev", "t", "1", "00" * 31], ["dev", "t", "1", "00" * 32]]
)
def test_a_device_in_c_refuses_what_it_cannot_seal_for(program: Path, arguments: list[str]) -> None:
    done = subprocess.run([program, *arguments], input=b"x", capture_output=True, check=False)
    assert done.returncode == 1
    assert (done.stdout, done.stderr[:6]) == (b"", b"seal: ")
