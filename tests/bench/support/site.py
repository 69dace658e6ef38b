"""Where a benchmark takes place: certificates and ports that every server under test is given alike."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.bench.support.certificates import Authority
from tests.support.ports import free_port


class Site(msgspec.Struct, frozen=True):
    """Paths of the certificates and the ports to listen on."""

    ca: Path
    certificate: Path
    private_key: Path
    devices: Path
    """Directory of ID.pem, one for each device."""
    ports: dict[str, int]
    """By transport: "plain", "tls", "ws", "wss"."""

    @property
    def plain_port(self) -> int:
        return self.ports["plain"]

    @property
    def tls_port(self) -> int:
        return self.ports["tls"]


class Server(msgspec.Struct, frozen=True):
    """A running server: the process ids whose CPU time is read, by role ("device", "bus")."""

    processes: dict[str, tuple[int, ...]]


def make_certificates(directory: Path, connections: int) -> Site:
    """A CA, the server's certificate and one for each of the load generator's devices (dev-00001 …)."""
    authority = Authority(directory)
    certificate, private_key = authority.server()
    devices = directory / "devices"
    devices.mkdir()
    for number in range(1, connections + 1):
        authority.device(f"dev-{number:05d}", into=devices)
    ports = {transport: free_port() for transport in ("plain", "tls", "ws", "wss")}
    return Site(authority.pem, certificate, private_key, devices, ports)
