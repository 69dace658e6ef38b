"""ClaimingContext: a server context that can say which name a *refused* certificate carried.

Python gives a peer's certificate only after a handshake that succeeded, but it is for the others that whoever reads
the log needs to know which device to walk to. So the handshake's messages are watched, through a hook that CPython has
had since 3.8 and does not document (where it is missing, refusals are reported without a name). It costs about
a microsecond a record, so a connection leaves it behind as soon as its handshake is done. (What `ssl.SSLContext` puts
around the hook would make that seven, for enumerations of what is not looked at.)

The name is what the certificate *claims*; nobody has vouched for it. It goes into a log line and nowhere else.
"""

from __future__ import annotations

import ssl
from typing import Any, cast

from cryptography import x509

from bridge.security.identity import IdentityError, device_from_certificate

_HANDSHAKE, _CERTIFICATE = 22, 11
"""ContentType and HandshakeType (RFC 8446 §5.1, §4)."""
_HEADER_BYTES = 4
_NAME_MAX_CHARS = 140


class ClaimingContext(ssl.SSLContext):
    """A server context whose sockets note on a verification error whose certificate it was.

    Its own `wrap_socket` is used as ever. `settled` is an equal context without the hook: finished connections use it.
    """

    settled: ssl.SSLContext | None = None

    def watch(self, settled: ssl.SSLContext) -> None:
        """Begin to watch; finished connections go over to `settled`."""
        self.settled = settled
        self.sslsocket_class = ClaimingSocket
        hook: Any = vars(ssl.SSLContext.__base__)["_msg_callback"]
        hook.__set__(self, _note_certificate)


class ClaimingSocket(ssl.SSLSocket):
    """A connection that remembers the certificate message of its handshake until the handshake is over."""

    certificate_message: tuple[int, bytes] | None = None
    """The protocol version, as in `ssl.TLSVersion`, and the handshake message."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands as `SSLSocket` does; an `ssl.SSLCertVerificationError` gets the claimed name as a note."""
        try:
            super().do_handshake(block)
        except ssl.SSLCertVerificationError as error:
            name = None if self.certificate_message is None else claimed_name(*self.certificate_message)
            if name is not None:
                error.add_note(name)
            raise
        self.certificate_message = None
        settled = cast(ClaimingContext, self.context).settled
        if settled is not None:
            self.context = settled


def claimed_name(version: int, message: bytes) -> str | None:
    """Return the device id, else the subject, of the first certificate in a Certificate handshake message.

    The message is of TLS 1.3 (RFC 8446 §4.4.2) or, if `version` says so, of 1.2 (RFC 5246 §7.4.2). None: there is no
    such certificate.
    """
    start = _HEADER_BYTES
    if version >= ssl.TLSVersion.TLSv1_3:
        start += 1 + int.from_bytes(message[start : start + 1], "big")  # certificate_request_context
    start += 3  # the list's length
    length = int.from_bytes(message[start : start + 3], "big")
    der = message[start + 3 : start + 3 + length]
    try:
        return device_from_certificate(der)
    except IdentityError:
        return _subject(der)


def _subject(der: bytes) -> str | None:
    try:
        subject = x509.load_der_x509_certificate(der).subject.rfc4514_string()
    except ValueError:
        return None
    return subject[:_NAME_MAX_CHARS] or None


def _note_certificate(
    sock: ssl.SSLSocket, direction: str, version: int, content_type: int, message_type: int, data: bytes
) -> None:
    if direction == "read" and content_type == _HANDSHAKE and message_type == _CERTIFICATE:
        cast(ClaimingSocket, sock).certificate_message = version, data
