"""Plain words for why a broker cannot be reached or does not let us in; "it" is the broker. Pure but for the errors."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Final

from aiokafka.errors import SaslAuthenticationFailed, UnsupportedSaslMechanismError

from bridge.bus_side.token_refused import TokenRefused
from bridge.security import tls_words

# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH (OpenSSL, x509_vfy.h).
_OTHER_NAME: Final = frozenset({62, 64})
_ALERTS: Final = {
    "TLSV1_ALERT_UNKNOWN_CA": "it refused our certificate: it does not know the CA that issued it",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it refused our certificate: it has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refused our certificate (expired, or from a CA that it does not know)",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refused our certificate, or wants one and got none",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a client certificate, and we have none",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it broke off the TLS handshake",
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port",
}


def explain(error: BaseException) -> str:
    """What the error, or the one behind it, says."""
    for each in _chain(error):
        words = _refusal(each) or _absence(each)
        if words:
            return words
    return str(error) or type(error).__name__


def is_refusal(error: BaseException) -> bool:
    """True if somebody has to put something right; False for what time may cure (a refused port, no answer)."""
    return any(_refusal(each) for each in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__


def _absence(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there (connection refused)"
    if isinstance(error, socket.gaierror):
        return f"its name cannot be resolved ({error.strerror})"
    return ""


def _refusal(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAME:
            return f"its certificate is for another host name: {error.verify_message}"
        return tls_words.explain(error)
    if isinstance(error, ssl.SSLError):
        return _ALERTS.get(error.reason or "", f"TLS failed: {error.reason or error}")
    if isinstance(error, SaslAuthenticationFailed):
        return f"it refused our log-in: {error.args[0] if error.args else 'it does not say why'}"
    if isinstance(error, UnsupportedSaslMechanismError):
        return "it does not take our way to log in on this port (kafka.security.mechanism)"
    if isinstance(error, TokenRefused):
        return str(error.args[0])
    return ""
