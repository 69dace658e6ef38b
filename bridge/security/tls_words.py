"""Plain words for why a TLS handshake failed, of OpenSSL's numbers and names for it."""

from __future__ import annotations

import ssl

# X509_V_ERR_* of OpenSSL's x509_vfy.h, as SSLCertVerificationError.verify_code carries them.
_CERTIFICATE = {
    2: "its certificate is from a CA that is not ours",
    3: "there is no CRL of the CA that issued its certificate",
    7: "its certificate's signature is wrong",
    8: "the signature of our CRL is wrong",
    9: "its certificate is not valid yet (or this gateway's clock is behind)",
    10: "its certificate has expired (or this gateway's clock is ahead)",
    11: "our CRL is not valid yet (or this gateway's clock is behind)",
    12: "our CRL has expired",
    18: "its certificate is self-signed, not from our CA",
    19: "its certificate is from a CA that is not ours",
    20: "its certificate is from a CA that is not ours",
    21: "its certificate is from a CA that is not ours",
    23: "its certificate has been revoked",
    24: "its certificate's issuer is not a CA",
    26: "its certificate is not for clients (extended key usage)",
    67: "its certificate's key is too small",
    68: "its certificate's signature uses a hash that is too weak",
}

_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it presented no certificate",
    "HTTP_REQUEST": "it spoke HTTP, not TLS",
    "HTTPS_PROXY_REQUEST": "it spoke HTTP, not TLS",
    "WRONG_VERSION_NUMBER": "it spoke something other than TLS",
    "UNSUPPORTED_PROTOCOL": "its TLS version is older than this listener takes",
    "VERSION_TOO_LOW": "its TLS version is older than this listener takes",
    "NO_SHARED_CIPHER": "it shares no cipher with this listener",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "it shares no signature algorithm with this listener",
    "NO_SUITABLE_KEY_SHARE": "it shares no key exchange with this listener",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust our server certificate's CA",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our server certificate has expired (or its clock is wrong)",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refused our server certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refused our server certificate",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not take our TLS version",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it broke off the TLS handshake",
    "UNEXPECTED_EOF_WHILE_READING": "it hung up in the middle of the TLS handshake (a truncated hello)",
}


def explain(error: BaseException) -> str:
    """Say in plain words why a TLS handshake failed, and what name a refused certificate carries; "it" is the peer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _CERTIFICATE.get(error.verify_code, f"its certificate was refused: {error.strerror or error}")
        return reason + "".join(f"; it says it is {name!r}" for name in getattr(error, "__notes__", ()))
    if isinstance(error, ssl.SSLEOFError):
        return _REASONS["UNEXPECTED_EOF_WHILE_READING"]
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None) or ""  # there is none on an SSLError that Python itself raised
        return _REASONS.get(reason, f"the TLS handshake failed: {reason or error}")
    return _explain_socket(error)


def _explain_socket(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it did not finish the TLS handshake in time"
    if isinstance(error, ConnectionError):
        return "it hung up in the middle of the TLS handshake"
    return f"{type(error).__name__}: {error}"
