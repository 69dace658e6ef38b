"""Tokens: JSON Web Tokens (RFC 7519) in MQTT's password, signed by somebody whose public keys lie in a file here.

Only signatures by key pairs count: with a shared secret whoever verifies could sign as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, GuestProtocol, OKPKey, RSAKey, import_key
from joserfc.jws import JWSRegistry

from bridge import config
from bridge.security.identity import IdentityError, check_device_id

ALGORITHMS: Final = ("ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA", "Ed25519")
"""RFC 7518 §3.1, RFC 8037, RFC 9864."""
_BYTES_MAX: Final = 16_384
_PEM: Final = "-----BEGIN"
Key = RSAKey | ECKey | OKPKey


class KeysError(Exception):
    """The file of public keys cannot be used; says which and why."""


class TokenRefused(Exception):
    """The token says nothing that counts; says why, and nothing of the token but its claims' names."""


class Bearer(msgspec.Struct, frozen=True):
    """Whom a token names."""

    device: str
    ends: float
    """When the token does, seconds since the epoch."""
    key: str
    """The thumbprint of the key that signed it (RFC 7638)."""


class Tokens:
    """Verifies tokens by one `[jwt]` section. The keys are replaced as a whole, from any thread."""

    def __init__(self, settings: config.Jwt, keys: Sequence[Key]) -> None:
        self._settings = settings
        self._algorithms = _algorithms()
        self.take(keys)

    def take(self, keys: Sequence[Key]) -> None:
        """From now on these keys."""
        self._keys = tuple(keys)
        self._thumbprints = frozenset(key.thumbprint() for key in keys)

    def knows(self, thumbprint: str) -> bool:
        """Whether the key is still among those in force."""
        return thumbprint in self._thumbprints

    def bearer(self, token: bytes, now_s: float) -> Bearer:
        """Whom the token names, if it is good at `now_s` (seconds since the epoch).

        Raises:
            TokenRefused: it is not, or names no device.
        """
        if len(token) > _BYTES_MAX:
            raise TokenRefused(f"its token has over {_BYTES_MAX} bytes")
        signers: list[Key] = []

        def signer(signed: GuestProtocol) -> Key:
            signers.append(self._key(signed.headers().get("kid")))
            return signers[0]

        try:
            claims = jwt.decode(token, signer, registry=self._algorithms).claims
            self._registry(now_s).validate(claims)
            device = claims.get(self._settings.device_claim)
            if not isinstance(device, str):
                raise TokenRefused(f"its token has no text as {self._settings.device_claim!r}")
            return Bearer(check_device_id(device), _finite(claims["exp"]), signers[0].thumbprint())
        except IdentityError as error:
            raise TokenRefused(str(error)) from error
        except (JoseError, ValueError, OverflowError, RecursionError) as error:  # (of numbers and nesting without end)
            raise TokenRefused(f"its token is not good: {error}") from error

    def _registry(self, now_s: float) -> jwt.JWTClaimsRegistry:
        """What has to be claimed (RFC 7519 §4.1); `nbf` is judged where it is there."""
        wanted: dict[str, jwt.ClaimsOption] = {
            "exp": {"essential": True},
            "aud": {"essential": True, "value": self._settings.audience},
        }
        if self._settings.issuer is not None:
            wanted["iss"] = {"essential": True, "value": self._settings.issuer}
        return jwt.JWTClaimsRegistry(now=int(now_s), leeway=int(self._settings.leeway), **wanted)

    def _key(self, kid: object) -> Key:
        """The key that a token's header names; one that names none is tried with the only key."""
        named = [key for key in self._keys if key.kid == kid] if kid is not None else []
        unnamed = [key for key in self._keys if key.kid is None or kid is None]
        if not (named or len(unnamed) == 1):
            raise TokenRefused("its token names none of our keys")
        return (named or unnamed)[0]


def _algorithms() -> JWSRegistry:
    """Those that are taken.

    EdDSA is Ed25519 by a name that RFC 9864 has deprecated for being less exact. Who signs so is another's choice, and
    the key in the file says which curve it is: no cause for a warning on the daemon's standard error.
    """
    registry = JWSRegistry(algorithms=ALGORITHMS)
    eddsa = copy(registry.algorithms["EdDSA"])
    eddsa.security_warning = None
    registry.algorithms = registry.algorithms | {eddsa.name: eddsa}
    return registry


def read_keys(path: Path) -> list[Key]:
    """Return the public keys in a JWKS (RFC 7517 §5), or the one in a PEM file.

    Raises:
        KeysError: it cannot be read, holds none, or one of a kind that is not used here.
    """
    try:
        text = path.read_text(encoding="utf-8")
        keys = [_of_pem(text)] if text.lstrip().startswith(_PEM) else _key_set(text)
    except OSError as error:
        raise KeysError(f"{path}: {error.strerror}") from error
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise KeysError(f"{path}: neither a JWKS nor a public key in PEM: {error}") from error
    if not keys:
        raise KeysError(f"{path}: no key in it")
    return keys


def _of_pem(text: str) -> Key:
    key = load_pem_public_key(text.encode())
    if isinstance(key, rsa.RSAPublicKey):
        return _import(text, "RSA")
    return _import(text, "EC" if isinstance(key, ec.EllipticCurvePublicKey) else "OKP")


def _key_set(text: str) -> list[Key]:
    entries = json.loads(text)["keys"]
    return [_import(entry) for entry in entries if entry.get("use", "sig") == "sig"]


def _import(data: str | dict[str, str | list[str]], kind: Literal["RSA", "EC", "OKP"] | None = None) -> Key:
    key = import_key(data, kind)
    if not isinstance(key, Key):
        raise TypeError("a shared secret (kty oct) is no public key")
    return key


def _finite(ends: float) -> float:
    if not math.isfinite(ends):
        raise ValueError("exp is no time")
    return float(ends)
