"""The listener's TLS: a server context that lets in only certificates of our CA, and plain words for refusals."""

from __future__ import annotations

import ssl

from bridge import config
from bridge.credentials import refuse_if_public
from bridge.security.claimed_name import ClaimingContext

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# Forward secrecy and authenticated encryption only; TLS 1.3 has nothing else, this is for 1.2.
_CIPHERS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"

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


def server_context(settings: config.Tls) -> ssl.SSLContext:
    """Return a context for one listener: mutual TLS, 1.3 unless 1.2 was asked for, the CRL checked where one is given.

    Its sockets can name whom they refused. Made anew, it is also how a changed certificate, CA or CRL comes into force.

    Raises:
        OSError: a file is missing, unreadable, or not what it should be (`ssl.SSLError` is an OSError), or every user
            of this machine may read the private key.
    """
    refuse_if_public(settings.private_key)
    context = ClaimingContext(ssl.PROTOCOL_TLS_SERVER)
    settled = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_up(settled, settings)
    _set_up(context, settings)
    context.watch(settled)
    return context


def _set_up(context: ssl.SSLContext, settings: config.Tls) -> None:
    context.minimum_version = _VERSIONS[settings.min_version]
    context.set_ciphers(_CIPHERS_1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION
    context.load_cert_chain(settings.certificate, settings.private_key)
    context.load_verify_locations(settings.client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    # A site's own CA may stand below a company's: what `client_ca` names is trusted by itself, and the root above it,
    # and with it every other site's CA, need not be.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if settings.crl is not None:
        context.load_verify_locations(settings.crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    _without_resumption(context)


def _without_resumption(context: ssl.SSLContext) -> None:
    """Give out no session tickets.

    A resumed session is let in without its certificate being looked at again, so a revoked or expired device could
    come back; and each ticket carries the whole client certificate (about 1 KB) over what may be a metered link.
    """
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET


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
