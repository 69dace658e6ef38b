"""The listener's TLS: a server context that lets in only certificates of our CA."""

from __future__ import annotations

import ssl

from bridge import config
from bridge.credentials import refuse_if_public
from bridge.security.claimed_name import ClaimingContext

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# Forward secrecy and authenticated encryption only; TLS 1.3 has nothing else, this is for 1.2.
_CIPHERS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(settings: config.Tls, verify: ssl.VerifyMode = ssl.CERT_REQUIRED) -> ssl.SSLContext:
    """Return a context for one listener: mutual TLS, 1.3 unless 1.2 was asked for, the CRL checked where one is given.

    `verify`: whether a client has to show a certificate; one that is shown has to be good, unless none is asked for.
    Its sockets can name whom they refused. Made anew, it is also how a changed certificate, CA or CRL comes into force.

    Raises:
        OSError: a file is missing, unreadable, or not what it should be (`ssl.SSLError` is an OSError), or every user
            of this machine may read the private key.
    """
    refuse_if_public(settings.private_key)
    context = ClaimingContext(ssl.PROTOCOL_TLS_SERVER)
    settled = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_up(settled, settings, verify)
    _set_up(context, settings, verify)
    context.watch(settled)
    return context


def _set_up(context: ssl.SSLContext, settings: config.Tls, verify: ssl.VerifyMode) -> None:
    context.minimum_version = _VERSIONS[settings.min_version]
    context.set_ciphers(_CIPHERS_1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION
    context.load_cert_chain(settings.certificate, settings.private_key)
    if verify is not ssl.CERT_NONE:
        _ask_for_certificates(context, settings)
    context.verify_mode = verify
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
    """Give out no session tickets.

    A resumed session is let in without its certificate being looked at again, so a revoked or expired device could
    come back; and each ticket carries the whole client certificate (about 1 KB) over what may be a metered link.
    """
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
