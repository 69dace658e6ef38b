"""Resumed sessions: quick for who may still come in, and no way back for who may not."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from bridge.security import tls
from bridge.security.identity import USUAL, IdentityError
from bridge.security.trust import Peer, Trust

YEAR_S = 365 * 86_400.0
VERSIONS = ("1.3", "1.2")


class Door:
    """A listener's context and trust, and one client that keeps its session."""

    def __init__(self, site, device: Path, version: str = "1.3") -> None:
        self.settings = site.tls(resumption=True, min_version="1.2")
        self.context, self.trust = tls.server_context(self.settings), Trust(self.settings)
        self.client = ssl.create_default_context(cafile=str(site.ours.directory / "ca.pem"))
        self.client.load_cert_chain(device)
        self.client.maximum_version = ssl.TLSVersion.TLSv1_3 if version == "1.3" else ssl.TLSVersion.TLSv1_2
        self.session: ssl.SSLSession | None = None

    def read_anew(self) -> None:
        self.context, self.trust = tls.server_context(self.settings), Trust(self.settings)

    def come(self, now_s: float | None = None) -> tuple[Peer, bool]:
        """Who it is for the listener, and whether the session was resumed."""
        ours, theirs = socket.socketpair()
        ours.settimeout(10)

        def knock() -> None:
            try:
                with self.client.wrap_socket(theirs, server_hostname="localhost", session=self.session) as secure:
                    secure.recv(1)
                    self.session = secure.session
            except OSError:
                theirs.close()

        thread = threading.Thread(target=knock)
        thread.start()
        try:
            with self.context.wrap_socket(ours, server_side=True) as secure:
                peer = self.trust.meet(secure, USUAL, now_s or time.time())
                secure.sendall(b"x")
                return peer, bool(secure.session_reused)
        finally:
            ours.close()
            thread.join(10)


@pytest.fixture
def device(site) -> Path:
    [path] = site.ours.issue(["dev-1"], site.devices)
    return path


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_session_is_the_same_device_by_the_same_chain(site, device: Path, version: str) -> None:
    door = Door(site, device, version)
    first, second, third = door.come(), door.come(), door.come()
    assert [resumed for _, resumed in (first, second, third)] == [False, True, True]
    assert first[0] == second[0] == third[0]
    assert first[0].device == "dev-1"
    assert door.trust.objection(second[0], time.time()) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_files_read_anew_end_all_tickets(site, device: Path, version: str) -> None:
    door = Door(site, device, version)
    door.come()
    door.read_anew()
    assert door.come()[1] is False
    assert door.come()[1] is True


def test_who_has_been_revoked_does_not_come_back_by_a_ticket(site, device: Path) -> None:
    """Not even by one that outlives the list, as none does: here the context stays the same."""
    [other] = site.ours.issue(["dev-2"], site.devices)
    door, neighbour = Door(site, device), Door(site, other)
    door.come()
    site.ours.revoke(["dev-1"])
    neighbour.context = door.context
    neighbour.trust = door.trust = Trust(door.settings)
    with pytest.raises(IdentityError, match="nothing is known"):
        door.come()
    assert neighbour.come()[0].device == "dev-2"
    with pytest.raises(IdentityError, match="revoked; it says it is 'dev-1'"):
        door.come()
    assert neighbour.come()[1] is True
    door.read_anew()
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        door.come()


def test_time_ends_a_session_with_its_certificate_and_with_the_list(site, device: Path) -> None:
    door = Door(site, device)
    door.come()
    with pytest.raises(IdentityError, match="expired"):
        door.come(time.time() + 50 * YEAR_S)


def test_a_ticket_of_another_listener_is_worth_nothing(site, device: Path) -> None:
    one, other = Door(site, device), Door(site, device)
    one.come()
    other.client, other.session = one.client, one.session
    assert other.come()[1] is False
