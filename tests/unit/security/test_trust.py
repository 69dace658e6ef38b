"""Who got in by which chain, and whether it still would: other CAs' chains, changed files, the passing of time."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from bridge import config
from bridge.security import tls
from bridge.security.identity import USUAL, IdentityError
from bridge.security.perishables import perishables
from bridge.security.pki import Authority, Validity, pem
from bridge.security.trust import Peer, Trust, peer_of

YEAR_S = 365 * 86_400.0


class Works:
    """A company's PKI as others make it: a root, two CAs one below the other, and a sibling of the second."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = Authority.create("Works", above=2)
        self.region = self.root.create_below("Region North")
        self.site, self.sibling = self.region.create_below("Site 7"), self.region.create_below("Site 8")
        server = self.site.issue_server("gateway", ["localhost"])
        self.server, self.key = self.write("server.pem", server.chain_pem()), self.write("server.key", server.key_pem())

    def write(self, name: str, content: bytes) -> Path:
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path

    def device(self, name: str, authority: Authority, validity: Validity | None = None) -> Path:
        return self.write(f"{name}.pem", authority.issue_device(name, validity).bundle_pem())

    def listener(self, *trusted: Authority, crl: Path | None = None) -> config.Tls:
        path = self.write("client-ca.pem", pem(*(each.credential.certificate for each in trusted)))
        return config.Tls(self.server, self.key, path, crl)

    def meet(self, listener: config.Tls, device: Path, trust: Trust | None = None) -> Peer:
        """A real handshake. Raises OSError where the device is refused, and as `trust` does, if it is asked."""
        ours, theirs = socket.socketpair()
        client = ssl.create_default_context(cadata=pem(self.root.credential.certificate).decode())
        client.load_cert_chain(device)

        def talk() -> None:
            try:
                with client.wrap_socket(theirs, server_hostname="localhost") as encrypted:
                    encrypted.recv(1)
            except OSError:
                theirs.close()

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            ours.settimeout(10)
            with tls.server_context(listener).wrap_socket(ours, server_side=True) as encrypted:
                return peer_of(encrypted) if trust is None else trust.meet(encrypted, USUAL, time.time())
        finally:
            ours.close()
            thread.join(10)
            theirs.close()


@pytest.fixture
def works(tmp_path: Path) -> Works:
    return Works(tmp_path)


def test_a_chain_with_two_intermediates(works: Works) -> None:
    peer = works.meet(works.listener(works.root), works.device("dev-1", works.site))
    assert (peer.device, len(peer.chain)) == ("dev-1", 4)


def test_a_site_that_trusts_its_own_ca_lets_in_no_device_of_the_next(works: Works) -> None:
    listener = works.listener(works.site)
    assert works.meet(listener, works.device("dev-1", works.site)).device == "dev-1"
    with pytest.raises(ssl.SSLCertVerificationError):
        works.meet(listener, works.device("dev-2", works.sibling))
    assert works.meet(works.listener(works.region), works.device("dev-2", works.sibling)).device == "dev-2"


@pytest.mark.parametrize("trusted", ["root", "region", "site"])
def test_whichever_of_its_cas_is_trusted_it_stays_in_and_goes_with_the_last(works: Works, trusted: str) -> None:
    peer = works.meet(works.listener(works.root), works.device("dev-1", works.site))
    assert Trust(works.listener(getattr(works, trusted))).objection(peer, time.time()) is None
    other = Trust(works.listener(works.sibling, Authority.create("Region North")))
    assert other.objection(peer, time.time()) == "its certificate is from a CA that is not ours any more"


def test_time_ends_what_it_let_in(works: Works) -> None:
    listener = works.listener(works.root)
    peer = works.meet(listener, works.device("dev-1", works.site, Validity.days(1)))
    assert Trust(listener).objection(peer, time.time()) is None
    assert (Trust(listener).objection(peer, time.time() + YEAR_S) or "").startswith("its certificate has expired (20")


def test_a_list_revokes_its_own_ca_s_certificates_only(works: Works) -> None:
    peer = works.meet(works.listener(works.root), works.device("dev-1", works.site))
    entry = Trust(works.listener(works.root))
    assert entry.objection(peer, time.time()) is None
    for authority, objects in ((works.sibling, False), (works.site, True), (works.region, False)):
        crl = works.write("crl.pem", works.root.crl() + authority.crl([_revoked(peer.chain[0].serial)]))
        said = Trust(works.listener(works.root, crl=crl)).objection(peer, time.time())
        assert said == ("its certificate has been revoked" if objects else None)
    crl = works.write("crl.pem", works.region.crl([_revoked(peer.chain[1].serial)]))
    said = Trust(works.listener(works.root, crl=crl)).objection(peer, time.time())
    assert said == "its certificate has been revoked", "so is every device's whose CA is"


def test_a_device_below_a_ca_that_is_revoked_does_not_get_in(works: Works) -> None:
    serial = works.site.credential.certificate.serial_number
    device = works.device("dev-1", works.site)
    for revoked, refused in (([], False), ([_revoked(serial)], True)):
        crl = works.write("crl.pem", works.site.crl() + works.region.crl(revoked))
        listener = works.listener(works.root, crl=crl)
        if refused:  # TLS asks its own CA's list about the device, and nobody's about the CA
            with pytest.raises(IdentityError, match=r"has been revoked; it says it is 'dev-1'"):
                works.meet(listener, device, Trust(listener))
        else:
            assert works.meet(listener, device, Trust(listener)).device == "dev-1"


def test_which_ca_lets_whom_in_has_a_name_of_its_own(works: Works) -> None:
    again = works.root.create_below("Site 7")
    serials = [f"{each.credential.certificate.serial_number:X}" for each in (works.site, again)]
    listener = works.listener(works.site, again, works.region)
    trust = Trust(listener)
    assert trust.names == (*(f"Site 7, serial number {serial}" for serial in serials), "Region North")
    for authority, name in ((works.site, trust.names[0]), (works.sibling, "Region North")):
        assert trust.authority(works.meet(listener, works.device("dev-1", authority))) == name
    peer = works.meet(listener, works.device("dev-1", again))
    assert trust.authority(peer) == trust.names[1]
    assert Trust(works.listener(works.sibling)).authority(peer) is None


def test_all_that_will_end_one_day_is_found(works: Works) -> None:
    crl = works.write("crl.pem", works.site.crl() + works.region.crl())
    found = {each.what for each in perishables(works.listener(works.site, crl=crl))}
    assert found == {
        "certificate of CN=gateway",
        "certificate of CN=Site 7",
        "certificate of CN=Region North",
        "certificate of CN=Works",
        "revocation list of CN=Site 7",
        "revocation list of CN=Region North",
    }


def _revoked(serial: int) -> x509.RevokedCertificate:
    return x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(datetime.now(UTC)).build()
