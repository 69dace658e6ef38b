"""Tokens: good ones, and every way in which one is not."""

from __future__ import annotations

import base64
import hmac
import json
from pathlib import Path

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from bridge.config import Jwt
from bridge.security.tokens import KeysError, TokenRefused, Tokens, read_keys

NOW = 1_800_000_000.0
EC, ED, RSA = ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519"), RSAKey.generate_key(2048)
OURS = KeySet([EC, ED, RSA])
"""It gives each its thumbprint as name (`kid`)."""
STRANGER = ECKey.generate_key("P-256")
GOOD = [(EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519"), (RSA, "RS256"), (RSA, "PS256")]
ALGORITHMS = ["ES256", "EdDSA", "Ed25519", "RS256", "PS256", "HS256"]
CLAIMS = {"sub": "dev-1", "aud": "gw", "exp": NOW + 600}


def jwks(path: Path, *keys: object) -> Path:
    path.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))
    return path


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(Jwt(tmp_path / "keys", "gw", issuer="idp"), read_keys(jwks(tmp_path / "keys", *OURS.keys)))


def signed(key: object = EC, alg: str = "ES256", header: dict[str, object] | None = None, **claims: object) -> bytes:
    said = {name: value for name, value in ({**CLAIMS, "iss": "idp"} | claims).items() if value is not None}
    kid = {"kid": key.kid} if header is None else header
    return jwt.encode({"alg": alg, **kid}, said, key, algorithms=ALGORITHMS).encode()


@pytest.mark.parametrize(
    ("key", "alg"), [(EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519"), (RSA, "RS256"), (RSA, "PS256")]
)
def test_a_good_token_names_its_bearer(tokens: Tokens, key: object, alg: str, recwarn: pytest.WarningsRecorder) -> None:
    token = signed(key, alg, aud=["gw", "other"], nbf=NOW - 5)
    recwarn.clear()  # (whoever signs as EdDSA is told that it has another name now; we are not)
    bearer = tokens.bearer(token, NOW)
    assert not recwarn.list
    assert (bearer.device, bearer.ends, tokens.knows(bearer.key)) == ("dev-1", NOW + 600, True)
    tokens.take([])
    assert not tokens.knows(bearer.key)


def nested() -> bytes:
    return jws.serialize_compact({"alg": "ES256", "kid": EC.kid}, b"[" * 9000, EC).encode()


def bare(alg: str, kid: str) -> bytes:
    parts = (json.dumps(part).encode() for part in ({"alg": alg, "kid": kid}, {**CLAIMS, "iss": "idp"}))
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)


def unsigned() -> bytes:
    return bare("none", EC.kid) + b"."


def forged() -> bytes:
    """Signed with our public key as if it were a shared secret."""
    said = bare("HS256", RSA.kid)
    signature = hmac.digest(RSA.as_pem(private=False), said, "sha256")
    return said + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (signed(exp=NOW - 31), "expired"),
        (signed(exp=None), "exp"),
        (signed(exp="soon"), "exp"),
        (signed(exp=10**400), "not good"),
        (signed(exp=float("inf")), "not good"),
        (nested(), "not good"),
        (signed(nbf=NOW + 60), "not yet valid"),
        (signed(aud="other"), "aud"),
        (signed(aud=None), "aud"),
        (signed(iss="other"), "iss"),
        (signed(iss=None), "iss"),
        (signed(sub=None), "no text as 'sub'"),
        (signed(sub=7), "sub|no text"),
        (signed(sub="a/#"), "characters outside"),
        (signed(STRANGER, header={"kid": "x"}), "names none of our keys"),
        (signed(STRANGER, header={}), "names none of our keys"),
        (signed()[:-6] + b"AAAAAA", "not good"),
        (unsigned(), "not good"),
        (forged(), "not good"),
        (b"", "not good"),
        (b"\xff.\xff.\xff", "not good"),
        (b"a" * 20_000, "over 16384 bytes"),
    ],
)
def test_any_other_is_refused(tokens: Tokens, token: bytes, said: str) -> None:
    with pytest.raises(TokenRefused, match=said):
        tokens.bearer(token, NOW)


def test_somebody_else_s_signature_under_our_key_s_name_is_refused(tokens: Tokens) -> None:
    with pytest.raises(TokenRefused, match="not good"):
        tokens.bearer(signed(STRANGER, header={"kid": EC.kid}), NOW)


def test_clocks_may_differ_by_the_leeway(tokens: Tokens) -> None:
    assert tokens.bearer(signed(exp=NOW - 29, nbf=NOW + 29), NOW).device == "dev-1"


def test_one_key_in_pem_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(EC.as_pem(private=False))
    tokens = Tokens(Jwt(tmp_path / "key.pem", "gw", device_claim="device"), read_keys(tmp_path / "key.pem"))
    assert tokens.bearer(signed(header={}, iss=None, device="dev-2"), NOW).device == "dev-2"
    assert tokens.bearer(signed(device="dev-2"), NOW).device == "dev-2"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "neither a JWKS nor"),
        (b'{"keys": []}', "no key in it"),
        (b"[1]", "neither a JWKS nor"),
        (json.dumps({"keys": [OctKey.generate_key().as_dict()]}).encode(), "shared secret"),
        (json.dumps({"keys": [{**EC.as_dict(private=False), "use": "enc"}]}).encode(), "no key in it"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "neither a JWKS nor"),
    ],
    ids=["empty", "no-keys", "a-list", "symmetric", "for-encryption", "broken-pem"],
)
def test_a_file_that_is_of_no_use_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(KeysError, match=said):
        read_keys(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="No such file"):
        read_keys(tmp_path / "none")
