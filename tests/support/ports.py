"""Ports: free ones, for servers that tests start."""

from __future__ import annotations

import contextlib
import secrets
import socket

_PORTS = range(10_000, 32_000)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on.

    It is below those that the kernel gives to outgoing connections (ip(7), ip_local_port_range), of which other tests
    make many until somebody listens here.
    """
    while True:
        with socket.socket() as sock, contextlib.suppress(OSError):
            port = secrets.choice(_PORTS)
            sock.bind(("127.0.0.1", port))
            return port
