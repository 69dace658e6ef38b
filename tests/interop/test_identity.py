"""Who a device is on a listener that says so: which name of its certificate, and what its client id has to be."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from tests.interop.conftest import NewGateway
from tests.interop.gateway import Gateway, wait_until
from tests.interop.wire import DISCONNECT, PUBACK, Wire

NOT_VALID, QUOTA, TAKEN_OVER = 0x85, 0x97, 0x8E


def gateway_with(new_gateway: NewGateway, settings: str) -> Gateway:
    """Its TLS listener has these settings, too."""
    made = new_gateway()
    made.config.write_text(made.config.read_text().replace("tls = {", f"{settings}\ntls = {{"))
    return made.start()


def certificate(gateway: Gateway, common_name: str, device: str) -> Path:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:acme:device:{device}")])
    return gateway.authority.device(common_name, names=names)


def connect(gateway: Gateway, certificate: Path, client_id: str, version: int = 5) -> Wire:
    context = ssl.create_default_context(cafile=str(gateway.authority.pem))
    context.load_cert_chain(certificate)
    return Wire(gateway.tls_port, client_id, tls=context, version=version)


def test_the_name_that_the_listener_asks_for_is_the_device(new_gateway: NewGateway) -> None:
    gateway = gateway_with(new_gateway, 'identity = "san-uri"\nidentity_template = "urn:acme:device:{device}"')
    mine = certificate(gateway, "Pump 7", "plc-7")
    with connect(gateway, mine, "plc-7") as wire:
        wire.connected()
        wire.publish("devices/plc-7/telemetry/t", b"1")
        assert wire.packet_ids(PUBACK, 1) == [1]
    with connect(gateway, mine, "Pump 7") as wire:
        assert wire.connack().reason == NOT_VALID
    wait_until(lambda: gateway.presence("plc-7")["state"] == "offline", "its document")
    with pytest.raises(OSError, match=r".*"), connect(gateway, gateway.authority.device("plc-8"), "plc-8") as wire:
        wire.connected()
    wait_until(lambda: "its certificate has no URI like urn:acme:device:{device}" in gateway.log(), "a word about it")


@pytest.mark.parametrize(("version", "refused"), [(5, NOT_VALID), (4, 2)])
def test_a_client_id_may_begin_with_the_device(new_gateway: NewGateway, version: int, refused: int) -> None:
    gateway = gateway_with(new_gateway, 'client_id = "prefix"\nconnections_per_identity = 1')
    mine = gateway.authority.device("dev-1")
    with connect(gateway, mine, "other-1", version) as wire:
        assert wire.connack().reason == refused
    with connect(gateway, mine, "dev-1/app", version) as wire:
        wire.connected()
        wire.publish("devices/dev-1/telemetry/t", b"1")
        assert wire.packet_ids(PUBACK, 1) == [1]
        wait_until(lambda: b"1" in gateway.forwarded(), "it is the device's")
        with connect(gateway, mine, "dev-1/boot", version) as second:
            second.connected()
            if version == 5:
                assert wire.receive() == (DISCONNECT, bytes([TAKEN_OVER]))
            wait_until(lambda: "gone device=dev-1" in gateway.log(), "the first is taken over")
            assert gateway.presence("dev-1")["state"] == "online"


def test_a_second_connection_with_another_client_id_can_be_refused(new_gateway: NewGateway) -> None:
    gateway = gateway_with(
        new_gateway, 'client_id = "any"\nsecond_connection = "refused"\nconnections_per_identity = 1'
    )
    mine = gateway.authority.device("dev-1")
    with connect(gateway, mine, "one") as first:
        first.connected()
        with connect(gateway, mine, "two") as second:
            assert second.connack().reason == QUOTA
        assert "the device is connected already, with the client ids 'one'" in gateway.log()
        with connect(gateway, mine, "one") as again:
            again.connected()
            assert first.receive() == (DISCONNECT, bytes([TAKEN_OVER]))
    wait_until(lambda: gateway.log().count("gone device=dev-1") == 2, "both are gone")
    with connect(gateway, mine, "two") as second:
        second.connected()
