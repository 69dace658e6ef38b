"""Access: how this side gets to Kafka. Addresses, certificates and log-in, read anew whenever a client starts.

So what was put right, or rotated, serves from the next try on, without a restart.
"""

from __future__ import annotations

import datetime
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaConnectionError, KafkaError

from bridge.bus_side.noise import Noise
from bridge.bus_side.plain_words import explain
from bridge.config import Kafka
from bridge.credentials import PublicSecret, SecretError, refuse_if_public, secret, secret_path


class AccessError(Exception):
    """A certificate, key or secret cannot be used; the text says which."""


class Access:
    """One for the process."""

    def __init__(self, kafka: Kafka, environ: Mapping[str, str] = os.environ) -> None:
        """`environ` names systemd's credentials directory."""
        self._kafka = kafka
        self._security = kafka.security
        self._environ = environ

    def settings(self) -> dict[str, Any]:
        """Keyword arguments that aiokafka's producer and consumer both take. Raises AccessError."""
        settings: dict[str, Any] = {
            "bootstrap_servers": list(self._kafka.bootstrap_servers),
            "request_timeout_ms": int(self._kafka.request_timeout * 1000),
            "security_protocol": self._security.protocol,
        }
        if self._security.protocol.startswith("SASL"):
            settings |= self._log_in()
        if self._security.protocol.endswith("SSL"):
            settings["ssl_context"] = self._ssl_context()
        return settings

    def why(self, error: BaseException, noise: Noise) -> str:
        """Why Kafka cannot be used, in plain words: the error, what aiokafka's log adds, and what is wrong here."""
        text = "no answer in time" if isinstance(error, TimeoutError) else explain(error)
        if isinstance(error, KafkaConnectionError) and noise.cause:
            text = noise.cause  # aiokafka's own words say only that there is no connection
        elif noise.cause:
            text = f"{text} ({noise.cause})"
        # Where it did not come to a log-in, our own side is not to blame.
        doubt = self._doubt() if isinstance(noise.error or error, KafkaError | ssl.SSLError) else ""
        return f"{text} ({doubt})" if doubt else text

    def _doubt(self) -> str:
        """What on our own side may be the reason why Kafka lets us not in; empty: nothing that can be seen here."""
        if self._security.mechanism == "OAUTHBEARER" and self._security.protocol.startswith("SASL"):
            return "as it is with a token that it does not accept"
        certificate = self._security.certificate
        if certificate is None:
            return ""
        from cryptography import x509  # for those who have a certificate, and trouble

        try:
            ends = x509.load_pem_x509_certificate(self._path(certificate).read_bytes()).not_valid_after_utc
        except (OSError, ValueError):
            return ""
        over = ends < datetime.datetime.now(datetime.UTC)
        return f"our certificate {certificate} has expired on {ends:%Y-%m-%d}" if over else ""

    def _log_in(self) -> dict[str, Any]:
        security = self._security
        if security.mechanism == "OAUTHBEARER":
            from bridge.bus_side.token_source import TokenSource

            source = TokenSource(security, self._environ, self._kafka.request_timeout)
            return {"sasl_mechanism": security.mechanism, "sasl_oauth_token_provider": source}
        try:
            password = secret(security.password_file, self._environ) if security.password_file is not None else None
        except SecretError as error:
            raise AccessError(str(error)) from None
        return {
            "sasl_mechanism": security.mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": password,
        }

    def _ssl_context(self) -> ssl.SSLContext:
        """The broker's certificate is checked against `ca` (or the system's CAs), its name against the address."""
        security = self._security
        try:
            context = ssl.create_default_context(cafile=security.ca)
        except OSError as error:
            raise AccessError(f"the CA file {security.ca} cannot be used: {_reason(error)}") from None
        if security.certificate is not None and security.private_key is not None:
            certificate, key = self._path(security.certificate), self._path(security.private_key)
            try:
                refuse_if_public(key)
                context.load_cert_chain(certificate, key)
            except PublicSecret as error:
                raise AccessError(str(error)) from None
            except OSError as error:
                raise AccessError(
                    f"the certificate {certificate} and the key {key} cannot be used: {_reason(error)}"
                ) from None
        return context

    def _path(self, path: Path) -> Path:
        return secret_path(path, self._environ)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "they do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else "this is not PEM"
    return error.strerror or str(error)
