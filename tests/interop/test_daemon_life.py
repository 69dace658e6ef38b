"""Start, stop, kill, reload: what the daemon says, what it leaves behind, who is let in."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest

from tests.bench.support.certificates import Authority
from tests.bench.support.processes import children
from tests.interop.conftest import NewGateway
from tests.interop.gateway import NO_SINK, PATIENCE_S, Gateway, wait_until
from tests.interop.wire import DISCONNECT, PINGRESP, PUBACK, Wire, packet

TOPIC = "devices/{}/telemetry/x"


def offline(gateway: Gateway, device: str) -> tuple[object, object]:
    presence = gateway.presence(device)
    return presence["state"], presence["reason"]


@pytest.mark.parametrize("sink", ["files", "kafka away", "none"])
def test_sigterm_ends_it_soon_with_everybody_offline(new_gateway: NewGateway, sink: str) -> None:
    options = {"files": {}, "kafka away": {"sink": NO_SINK}, "none": {"sink": "", "routes": ""}}[sink]
    gateway = new_gateway(**options).start()
    clients = [Wire(gateway.port, f"dev-{number}", version=5 if number % 2 else 4) for number in range(6)]
    for number, wire in enumerate(clients):
        wire.receive()
        wire.publish(TOPIC.format(f"dev-{number}"), b"last words")
    clients[0].packet_ids(PUBACK, 1)
    begun = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - begun < 5
    for number, wire in enumerate(clients):
        goodbye = last_packet(wire)
        assert goodbye == ((DISCONNECT, b"\x8b") if number % 2 else None)
        if sink != "none":
            assert offline(gateway, f"dev-{number}") == ("offline", "gateway-stopped")
            assert (f"dev-{number}", b"last words") in gateway.messages()
    assert "Traceback" not in gateway.log(), gateway.log()


def last_packet(wire: Wire) -> tuple[int, bytes] | None:
    """The DISCONNECT before the end, if there was one."""
    last = None
    try:
        while True:
            kind, body = wire.receive()
            last = (kind, body[:1]) if kind == DISCONNECT else None
    except ConnectionError:
        return last


def test_stopping_publishes_no_wills(gateway: Gateway) -> None:
    with (
        Wire(gateway.port, "dev-4", version=4, will=(TOPIC.format("dev-4"), b"will")) as four,
        Wire(gateway.port, "dev-5", version=5, will=(TOPIC.format("dev-5"), b"will")) as five,
    ):
        four.receive(), five.receive()
        assert gateway.stop() == 0
    assert gateway.messages() == []


def test_sigterm_right_after_the_start_ends_it_too(new_gateway: NewGateway) -> None:
    gateway = new_gateway()
    for wait_s in (0.0, 0.005, 0.02):
        gateway.start()
        time.sleep(wait_s)
        assert gateway.stop() == 0


def test_a_kill_leaves_no_device_online_and_the_epoch_rises(gateway: Gateway) -> None:
    with Wire(gateway.port, "stays") as stays, Wire(gateway.port, "leaves") as leaves:
        stays.connected(), leaves.connected()
        leaves.send(packet(0xE0))
        wait_until(lambda: gateway.presence("leaves").get("state") == "offline", "offline")
        wait_until(lambda: gateway.presence("stays").get("state") == "online", "online")
        assert gateway.presence("stays")["gateway_epoch"] == 1
        gateway.kill()
    for epoch in (2, 3, 4):
        gateway.start()
        wait_until(lambda: gateway.presence("stays").get("state") == "offline", "offline after the restart")
        assert offline(gateway, "stays") == ("offline", "gateway-stopped")
        assert offline(gateway, "leaves") == ("offline", "disconnected")
        with Wire(gateway.port, "new") as new:
            new.connected()
            wait_until(lambda epoch=epoch: gateway.presence("new").get("gateway_epoch") == epoch, "the new epoch")
        gateway.kill()


def test_what_was_acknowledged_is_there_after_a_kill(gateway: Gateway) -> None:
    with Wire(gateway.port, "dev-1") as wire:
        wire.connected()
        for number in range(1, 201):
            wire.publish(TOPIC.format("dev-1"), b"%d" % number, 1, number)
        assert wire.packet_ids(PUBACK, 150) == list(range(1, 151))
        gateway.kill()
    found = [int(payload) for _, payload in gateway.messages()]
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= 150
    gateway.start()
    wait_until(lambda: len(gateway.forwarded()) >= len(found), "all of it forwarded")
    assert [int(payload) for payload in gateway.forwarded()] == found


def test_a_second_daemon_on_the_same_directory_refuses_with_a_sentence(gateway: Gateway) -> None:
    first, log = gateway.process, gateway.log()
    second = gateway.launch()
    assert second.wait(PATIENCE_S) == 1
    said = gateway.log()[len(log) :]
    assert first is not None
    assert f"cannot start: {gateway.directory}/data is in use by process {first.pid}: " in said
    assert "Traceback" not in said
    gateway.process = first
    with Wire(gateway.port, "dev-1") as wire:
        wire.connected()


def test_another_gateways_data_directory_is_refused_with_a_sentence_and_a_renamed_one_goes_on(gateway: Gateway) -> None:
    assert gateway.stop() == 0
    text = gateway.config.read_text()
    gateway.config.write_text(text.replace('id = "gw-test"', 'id = "gw-copy"'))
    assert gateway.launch().wait(PATIENCE_S) == 1
    said = [line for line in gateway.log().splitlines() if "cannot start" in line]
    assert len(said) == 1
    assert 'holds the queue of gateway "gw-test", and this is "gw-copy"' in said[0]
    gateway.config.write_text(text.replace('id = "gw-test"', 'id = "gw-copy"\nrenamed_from = "gw-test"'))
    gateway.start()
    assert "gateway gw-copy epoch 2 is ready" in gateway.log(), "the refused start has changed nothing"


def test_a_port_that_is_taken_is_named(new_gateway: NewGateway) -> None:
    gateway = new_gateway()
    with socket.create_server(("127.0.0.1", gateway.port)):
        assert gateway.launch().wait(PATIENCE_S) == 1
    assert f"cannot start: cannot listen on 127.0.0.1:{gateway.port}: Address already in use" in gateway.log()


def test_a_cold_store_that_is_none_is_named(new_gateway: NewGateway) -> None:
    gateway = new_gateway()
    (gateway.directory / "data").mkdir()
    (gateway.directory / "data" / "cold.sqlite").write_bytes(b"garbage in the place of a database" * 100)
    assert gateway.launch().wait(PATIENCE_S) == 1
    assert "cold.sqlite: file is not a database" in gateway.log()
    assert "Traceback" not in gateway.log()


def greet(gateway: Gateway, authority: Authority, certificate: Path) -> bool:
    """Whether a device with this certificate, that trusts this CA, gets in."""
    context = ssl.create_default_context(cafile=str(authority.pem))
    context.load_cert_chain(certificate)
    try:
        with Wire(gateway.tls_port, certificate.stem, tls=context) as wire:
            wire.connected()
    except (OSError, ConnectionError):
        return False
    return True


def test_certificates_are_read_again_on_sighup_and_a_bad_file_keeps_the_old(gateway: Gateway) -> None:
    old, new = gateway.authority, Authority(gateway.directory / "new", "another CA")
    device, stranger = old.device("dev-1"), new.device("dev-2")
    assert (greet(gateway, old, device), greet(gateway, new, stranger)) == (True, False)
    context = ssl.create_default_context(cafile=str(old.pem))
    context.load_cert_chain(device)
    with Wire(gateway.tls_port, "dev-1", tls=context) as standing:
        standing.connected()
        (old.directory / "server.pem").write_text("nothing of the kind")
        reload(gateway, "kept the old certificates")
        assert greet(gateway, old, old.device("dev-3"))
        certificate, key = new.server()
        for source, name in ((certificate, "server.pem"), (key, "server.key"), (new.pem, "ca.pem")):
            shutil.copyfile(source, old.directory / name)
        standing.send(packet(0xC0))
        assert standing.receive()[0] == PINGRESP, "files that cannot be used touch no connection"
        reload(gateway, "re-read the certificates")
        assert greet(gateway, new, stranger)
        assert not greet(gateway, new, device)
        assert last_packet(standing) is None, "its CA is not ours any more"


def reload(gateway: Gateway, answer: str) -> None:
    said = len(gateway.log())
    gateway.signal(signal.SIGHUP)
    wait_until(lambda: f"{answer} of 127.0.0.1:{gateway.tls_port}" in gateway.log()[said:], answer)


def test_the_bus_side_is_started_again_and_the_devices_notice_nothing(gateway: Gateway) -> None:
    with Wire(gateway.port, "dev-1") as wire:
        wire.connected()
        for number in range(1, 4):
            wait_until(lambda: children(gateway.pid), "a bus side")
            wire.publish(TOPIC.format("dev-1"), b"%d" % number, 1, number)
            assert wire.packet_ids(PUBACK, 1) == [number]
            wait_until(lambda number=number: len(gateway.forwarded()) == number, "forwarded")
            [bus_side] = children(gateway.pid)
            os.kill(bus_side, signal.SIGKILL)
            wait_until(lambda: "bus side ended with signal 9; starting it again" in gateway.log(), "a word about it")
    assert gateway.forwarded() == [b"1", b"2", b"3"]
