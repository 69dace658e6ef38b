"""TokenSource: access tokens for SASL OAUTHBEARER (RFC 7628), by the client credentials grant (RFC 6749 §4.4).

aiokafka asks for a token with each connection it opens. The last one is given again until most of its life is over, so
that no connection begins with a token that is about to end, and a token server that is away for a while does no harm.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiokafka.abc import AbstractTokenProvider

from bridge.bus_side.token_refused import TokenRefused
from bridge.config import KafkaSecurity
from bridge.credentials import SecretError, secret

_FRESH: Final = 0.8
"""Of its life: after that another one is asked for."""
_ANSWER_MAX_BYTES: Final = 64 << 10


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: float = 300.0
    """Seconds (RFC 6749 §5.1: recommended, not required)."""


class TokenSource(AbstractTokenProvider):
    """One for each life of a client: the secret is read anew with each token."""

    def __init__(self, security: KafkaSecurity, environ: Mapping[str, str], timeout_s: float) -> None:
        self._security = security
        self._environ = environ
        self._timeout_s = timeout_s
        self._asking = asyncio.Lock()
        self._token = ""
        self._fresh_until = 0.0
        self._ends = 0.0

    async def token(self) -> str:
        """A token that is good for a while. Raises TokenRefused."""
        async with self._asking:
            if time.monotonic() < self._fresh_until:
                return self._token
            asked = time.monotonic()
            try:
                answer = await asyncio.to_thread(self._ask)
            except TokenRefused:
                if time.monotonic() < self._ends:
                    return self._token
                raise
            self._token = answer.access_token
            self._ends = asked + answer.expires_in
            self._fresh_until = asked + answer.expires_in * _FRESH
            return self._token

    def _ask(self) -> _Answer:
        place = self._security.token_endpoint or ""
        try:
            request = urllib.request.Request(place, self._form(), {"Authorization": self._account()})
            with self._opener().open(request, timeout=self._timeout_s) as answer:
                return msgspec.json.decode(answer.read(_ANSWER_MAX_BYTES), type=_Answer)
        except urllib.error.HTTPError as error:
            raise TokenRefused(f"the token server {place} refused us: {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise TokenRefused(f"the token server {place} cannot be reached: {error.reason}") from None
        except (OSError, SecretError) as error:
            raise TokenRefused(f"no token from {place}: {error}") from None
        except (msgspec.DecodeError, ValueError) as error:
            raise TokenRefused(f"the token server {place} gave an answer that is no token: {error}") from None

    def _form(self) -> bytes:
        form = {"grant_type": "client_credentials"}
        if self._security.scope is not None:
            form["scope"] = self._security.scope
        return urllib.parse.urlencode(form).encode()

    def _account(self) -> str:
        """HTTP Basic, both halves form-encoded first (RFC 6749 §2.3.1)."""
        file = self._security.client_secret_file
        password = secret(file, self._environ) if file is not None else ""
        pair = ":".join(urllib.parse.quote_plus(half) for half in (self._security.client_id or "", password))
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def _opener(self) -> urllib.request.OpenerDirector:
        context = ssl.create_default_context(cafile=self._security.token_ca)
        return urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The secret goes where the configuration says, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None
