"""The listener's TLS: a server context that lets in only certificates of our CA."""

from __future__ import annotations

import ssl

from bridge import config
from bridge.credentials import refuse_if_public
from bridge.security.claimed_name import ClaimingContext

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

MQTT, HTTP = "mqtt", "http/1.1"
"""What a listener speaks, by its name in ALPN."""

# Forward secrecy and authenticated encryption only; TLS 1.3 has nothing else, this is for 1.2.
_CIPHERS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(
    settings: config.Tls, verify: ssl.VerifyMode = ssl.CERT_REQUIRED, alpn: str = MQTT
) -> ssl.SSLContext:
    """Return a context for one listener: mutual TLS, 1.3 unless 1.2 was asked for, the CRL checked where one is given.

    `verify`: whether a client has to show a certificate; one that is shown has to be good, unless none is asked for.

    `alpn` is what it speaks (RFC 7301). A client that offers it hears so; one that offers nothing or only other things
    is let in all the same, without an answer to that. A server name (SNI) is neither needed nor looked at: there is one
    certificate, and the client judges it.

    With `settings.resumption` whoever calls has to judge resumed sessions by `Trust.meet`. Ticket keys are the
    context's own: a new context takes no older ticket.

    Its sockets can name whom they refused. Made anew, it is also how a changed certificate, CA or CRL comes into force.

    Raises:
        OSError: a file is missing, unreadable, or not what it should be (`ssl.SSLError` is an OSError), or every user
            of this machine may read the private key.
    """
    refuse_if_public(settings.private_key)
    context = ClaimingContext(ssl.PROTOCOL_TLS_SERVER)
    settled = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_up(settled, settings, verify, alpn)
    _set_up(context, settings, verify, alpn)
    context.watch(settled)
    return context


def _set_up(context: ssl.SSLContext, settings: config.Tls, verify: ssl.VerifyMode, alpn: str) -> None:
    context.minimum_version = _VERSIONS[settings.min_version]
    context.set_ciphers(_CIPHERS_1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION
    context.load_cert_chain(settings.certificate, settings.private_key)
    if verify is not ssl.CERT_NONE:
        _ask_for_certificates(context, settings)
    context.verify_mode = verify
    context.set_alpn_protocols([alpn])
    if settings.resumption:
        context.num_tickets = 1
    else:
        _without_resumption(context)


def _ask_for_certificates(context: ssl.SSLContext, settings: config.Tls) -> None:
    context.load_verify_locations(settings.client_ca)
    # A site's own CA may stand below a company's: what `client_ca` names is trusted by itself, and the root above it,
    # and with it every other site's CA, need not be.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if settings.crl is not None:
        context.load_verify_locations(settings.crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _without_resumption(context: ssl.SSLContext) -> None:
    """Give out no session tickets: each carries the whole client certificate, and most clients never use theirs."""
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
