"""Ports: free ones, for servers that tests start."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket

_PROCESSES = 8
_OWN = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
_PORTS = range(10_000 + _OWN, 32_000, _PROCESSES)
"""Of this process of a run: two that ask at once may not get the same one."""
_next_one = itertools.cycle(random.SystemRandom().sample(_PORTS, len(_PORTS))).__next__


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on, and that was not given here for a long time.

    It is below those that the kernel gives to outgoing connections (ip(7), ip_local_port_range), of which other tests
    make many until somebody listens here.
    """
    while True:
        with socket.socket() as sock, contextlib.suppress(OSError):
            port = _next_one()
            sock.bind(("127.0.0.1", port))
            return port
