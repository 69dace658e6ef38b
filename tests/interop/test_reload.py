"""Files that are replaced while the daemon runs: who has to go goes within a moment, and nobody else notices."""

from __future__ import annotations

import shutil
import signal
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bridge.log.record import decode_context, decode_headers
from bridge.security import envelope, keys
from bridge.security.ca_directory import CaDirectory
from bridge.security.pki import Validity
from bridge.security.recipient import PrivateKey
from tests.bench.support.certificates import Authority
from tests.interop.conftest import NewGateway
from tests.interop.gateway import Gateway, wait_until
from tests.interop.wire import DISCONNECT, PINGRESP, PUBACK, Wire, packet

TOPIC = "devices/{}/telemetry/x"
SEALED = """
[[routes]]
filter = "devices/{{device}}/telemetry/#"
topic = "telemetry"
seal = "seal"
recipients = ["{names}"]
"""
RECIPIENT = """
[recipients.{name}]
public_key = "{path}"
"""


@pytest.fixture
def gateway(new_gateway: NewGateway) -> Gateway:
    """With a revocation list, still empty."""
    made = new_gateway()
    edit(made, 'client_ca = "', f'crl = "{made.authority.revoke()}", client_ca = "')
    return made.start()


def edit(gateway: Gateway, old: str, new: str) -> None:
    """Changes the configuration as an editor does."""
    text = gateway.config.read_text()
    assert old in text
    copy = gateway.config.with_suffix(".new")
    copy.write_text(text.replace(old, new))
    copy.replace(gateway.config)


@contextmanager
def device(gateway: Gateway, certificate: Path, *, trusts: Authority | None = None) -> Iterator[Wire]:
    """A device that is connected over mutual TLS with MQTT 5."""
    context = ssl.create_default_context(cafile=str((trusts or gateway.authority).pem))
    context.load_cert_chain(certificate)
    with Wire(gateway.tls_port, certificate.stem, tls=context, version=5) as wire:
        wire.connected()
        yield wire


def is_let_in(gateway: Gateway, certificate: Path, *, trusts: Authority | None = None) -> bool:
    try:
        with device(gateway, certificate, trusts=trusts):
            return True
    except OSError:
        return False


def pings(wire: Wire) -> bool:
    wire.send(packet(0xC0))
    return wire.receive()[0] == PINGRESP


def test_a_revoked_device_is_out_within_a_moment_and_what_it_had_acknowledged_arrives(gateway: Gateway) -> None:
    bad, good = gateway.authority.device("dev-bad"), gateway.authority.device("dev-good")
    with device(gateway, bad) as leaving, device(gateway, good) as staying:
        leaving.publish(TOPIC.format("dev-bad"), b"before", 1, 1)
        assert leaving.packet_ids(PUBACK, 1) == [1]
        gateway.authority.revoke(bad)
        assert leaving.receive() == (DISCONNECT, b"\x87")
        assert not is_let_in(gateway, bad)
        assert pings(staying)
        wait_until(lambda: b"before" in gateway.forwarded(), "the acknowledged message")
        presence = gateway.presence("dev-bad")
        assert (presence["state"], presence["reason"]) == ("offline", "revoked")
        assert "ended device=dev-bad peer=127.0.0.1" in gateway.log()
        assert "its certificate has been revoked" in gateway.log()


def test_a_ca_is_changed_with_a_time_in_which_both_are_good(gateway: Gateway) -> None:
    old, new = gateway.authority, Authority(gateway.directory / "new", "another CA")
    for authority in (old, new):
        authority.revoke()
    both_crls = (old.directory / "crl.pem").read_bytes() + (new.directory / "crl.pem").read_bytes()
    both = old.pem.read_bytes() + new.pem.read_bytes()
    first, second = old.device("dev-1"), new.device("dev-2")
    with ExitStack() as stack:
        early = stack.enter_context(device(gateway, first))
        assert not is_let_in(gateway, second, trusts=old)
        (old.directory / "crl.pem").write_bytes(both_crls)
        old.pem.write_bytes(both)
        wait_until(lambda: is_let_in(gateway, second, trusts=old), "the new CA's devices are let in")
        late = stack.enter_context(device(gateway, second, trusts=old))
        assert pings(early)
        old.pem.write_bytes(new.pem.read_bytes())
        assert early.receive() == (DISCONNECT, b"\x87")
        assert pings(late)
        assert "its certificate is from a CA that is not ours any more" in gateway.log()


def test_a_half_made_change_keeps_what_is_in_force(gateway: Gateway) -> None:
    certificate = gateway.authority.device("dev-1")
    with device(gateway, certificate) as wire:
        other = Authority(gateway.directory / "other", "another CA")
        shutil.copyfile(other.server()[1], gateway.authority.directory / "server.key")  # not that of the certificate
        wait_until(lambda: "kept the old certificates of" in gateway.log(), "a word about it")
        assert pings(wire)
        assert is_let_in(gateway, gateway.authority.device("dev-2"))
        edit(gateway, "[queue]", "[queue]\nno_such_key = 1")
        wait_until(lambda: "kept the old configuration: " in gateway.log(), "a word about it")
        assert "no_such_key" in gateway.log()
        assert pings(wire)


def test_rights_that_shrink_are_taken_back(new_gateway: NewGateway) -> None:
    rights = '[acl]\npublish = ["devices/{device}/#", "open/#"]\nsubscribe = ["devices/{device}/#", "open/#"]\n'
    gateway = new_gateway(rights).start()
    with Wire(gateway.port, "dev-1", version=5) as wire, Wire(gateway.port, "dev-2", version=5) as other:
        assert (wire.connected(), other.connected()) == (False, False)
        assert (wire.subscribe("open/#"), wire.subscribe("devices/dev-1/x")) == (0, 0)
        other.publish("open/news", b"1", 1, 1)
        assert wire.publication().payload == b"1"
        assert other.packet_ids(PUBACK, 1) == [1]
        edit(gateway, 'subscribe = ["devices/{device}/#", "open/#"]', 'subscribe = ["devices/{device}/#"]')
        wait_until(lambda: "acl has changed and is in force" in gateway.log(), "the ACL is read")
        assert "ended device=dev-1: its subscription open/# is not allowed any more" in gateway.log()
        other.publish("open/news", b"2", 1, 2)
        other.publish("devices/dev-2/x", b"3", 1, 3)
        assert other.packet_ids(PUBACK, 2) == [2, 3]
        assert pings(wire), "the first to come is the answer: nothing was delivered before it"
        assert wire.subscribe("open/#") == 0x87
        edit(gateway, ', "open/#"]', "]")
        wait_until(lambda: gateway.log().count("acl has changed") == 2, "the ACL is read")
        other.publish("open/news", b"4", 1, 4)
        kind, body = other.receive()
        assert (kind, body[2]) == (PUBACK, 0x87), "what was remembered of the topic is forgotten"


def test_what_needs_a_restart_is_named_and_sighup_reads_too(gateway: Gateway) -> None:
    edit(gateway, 'lane = "alarm"', 'lane = "urgent"')
    gateway.signal(signal.SIGHUP)
    wait_until(lambda: "in force from the next start on: routes" in gateway.log(), "a word about it")


def test_the_gateway_renews_its_own_certificate_and_nobody_notices(new_gateway: NewGateway) -> None:
    made = new_gateway()
    ca = CaDirectory.create(made.directory / "server-ca", "servers", ["localhost"])
    for name in ("server.pem", "server.key"):
        shutil.copyfile(ca.directory / name, made.authority.directory / name)
    edit(made, 'client_ca = "', f'renew_from = "{ca.directory}", renew_life = "90 s", client_ca = "')
    trusts = Authority(made.directory / "servers")  # (its certificate is put aside for the servers' CA)
    shutil.copyfile(ca.directory / "ca.pem", trusts.pem)
    old = ca.renew_server(
        *(made.authority.directory / name for name in ("server.pem", "server.key")), Validity.days(25 / 86_400)
    )
    gateway = made.start()
    certificate = gateway.authority.device("dev-1")

    def serial() -> int:
        with device(gateway, certificate, trusts=trusts) as shown:
            assert isinstance(shown.sock, ssl.SSLSocket)
            return int(str((shown.sock.getpeercert() or {})["serialNumber"]), 16)

    with device(gateway, gateway.authority.device("dev-2"), trusts=trusts) as standing:
        wait_until(lambda: "renewed " in gateway.log(), "renewed")
        wait_until(lambda: serial() != old.serial_number, "the new one is shown")
        assert pings(standing)


def test_readers_change_without_a_gap(new_gateway: NewGateway) -> None:
    made = new_gateway(routes="")
    paths = {name: keys.new(name, made.directory / "keys") for name in ("old", "new")}
    recipients = "".join(RECIPIENT.format(name=name, path=public) for name, (public, _) in paths.items())
    with made.config.open("a") as file:
        file.write(SEALED.format(names="old") + recipients)
    gateway = made.start()
    with Wire(gateway.port, "dev-1") as wire:
        wire.connected()
        wire.publish(TOPIC.format("dev-1"), b"1", 1, 1)
        edit(gateway, 'recipients = ["old"]', 'recipients = ["old", "new"]')
        wait_until(lambda: gateway.log().count("recipients have changed") == 1, "both read")
        wire.publish(TOPIC.format("dev-1"), b"2", 1, 2)
        edit(gateway, 'recipients = ["old", "new"]', 'recipients = ["new"]')
        wait_until(lambda: gateway.log().count("recipients have changed") == 2, "the new one reads")
        wire.publish(TOPIC.format("dev-1"), b"3", 1, 3)
        assert wire.packet_ids(PUBACK, 3) == [1, 2, 3]
    readable = {name: list(opened(gateway, keys.load_private(private))) for name, (_, private) in paths.items()}
    assert readable == {"old": [b"1", b"2"], "new": [b"2", b"3"]}


def opened(gateway: Gateway, key: PrivateKey) -> Iterator[bytes]:
    """What its reader can open of all that lies in the queue."""
    for record in gateway.records():
        sender, topic, _ = decode_context(record.context)
        try:
            yield envelope.open_sealed(
                key, dict(decode_headers(record.headers)), sender, topic, record.seq, record.payload
            )
        except envelope.NotARecipientError:
            continue
