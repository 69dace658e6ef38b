"""An attacker's connections: blocking sockets with a deadline, so that no test waits for ever."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

PATIENCE_S = 10.0
CONNACK_ACCEPTED = b"\x20\x02\x00\x00"


def dial(port: int) -> tuple[socket.socket, str]:
    """A TCP connection and its own HOST:PORT, by which the daemon's log must know it."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    host, own_port = sock.getsockname()[:2]
    return sock, f"{host}:{own_port}"


def context(ca: Path, certificate: Path | None) -> ssl.SSLContext:
    """A client's TLS with this certificate (ID.pem: chain and key in one file), or none."""
    settings = ssl.create_default_context(cafile=str(ca))
    if certificate is not None:
        settings.load_cert_chain(certificate)
    return settings


def dial_tls(port: int, settings: ssl.SSLContext, session: ssl.SSLSession | None = None) -> tuple[ssl.SSLSocket, str]:
    """The same over TLS; `session`: to be resumed.

    With TLS 1.3 a refusal shows only at the first read: the client is done before the server.
    """
    sock, peer = dial(port)
    return settings.wrap_socket(sock, server_hostname="localhost", session=session), peer


def read_until_closed(sock: socket.socket, most: int = 65536) -> bytes:
    """What came until the daemon closed or reset the connection; AssertionError when it does neither in time."""
    received = bytearray()
    try:
        while data := sock.recv(4096):
            received += data
            assert len(received) <= most, "the daemon goes on talking"
    except TimeoutError:
        raise AssertionError(f"the daemon keeps the connection open after {received!r}") from None
    except (ConnectionError, ssl.SSLError):
        pass  # a reset, or a TLS alert: closed all the same
    return bytes(received)


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """So many bytes; AssertionError when the connection ends before."""
    received = b""
    while len(received) < count:
        data = sock.recv(count - len(received))
        assert data, f"the daemon closed the connection after {received!r}"
        received += data
    return received


def client_hello(settings: ssl.SSLContext) -> bytes:
    """The first bytes a TLS client sends."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = settings.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake needs two")
