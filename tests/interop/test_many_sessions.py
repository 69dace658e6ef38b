"""Several connections of one device at once, with one certificate: each its own session, all of them one device."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.interop.conftest import NewGateway
from tests.interop.gateway import CHECKOUT, Gateway, wait_until
from tests.interop.wire import DISCONNECT, PINGRESP, PUBACK, PUBCOMP, PUBREC, Wire, packet, pubrel

TELEMETRY, ALARM, REPORTED = "devices/dev-1/telemetry/x", "devices/dev-1/alarm/x", "devices/dev-1/state/reported"
TAKEN_OVER, QUOTA, NOT_ALLOWED, MALFORMED = 0x8E, 0x97, 0x87, 0x81
ASSIGNED_CLIENT_ID = 0x12
KEPT = {"version": 5, "clean": False, "expiry_s": 3600}


def gateway_with(new_gateway: NewGateway, settings: str = 'client_id = "any"', extra: str = "") -> Gateway:
    """Its TLS listener has these settings, and a revocation list."""
    made = new_gateway(extra)
    made.authority.revoke()
    text = made.config.read_text().replace("tls = {", f"{settings}\ntls = {{")
    made.config.write_text(text.replace("client_ca =", f'crl = "{made.authority.directory}/crl.pem", client_ca ='))
    return made.start()


@pytest.fixture
def gateway(new_gateway: NewGateway) -> Gateway:
    return gateway_with(new_gateway)


@pytest.fixture
def mine(gateway: Gateway) -> Path:
    return gateway.authority.device("dev-1")


def connect(gateway: Gateway, certificate: Path, client_id: str, **options: Any) -> Wire:
    context = ssl.create_default_context(cafile=str(gateway.authority.pem))
    context.load_cert_chain(certificate)
    return Wire(gateway.tls_port, client_id, tls=context, **({"version": 5} | options))


def let_in(stack: ExitStack, gateway: Gateway, certificate: Path, client_id: str, version: int) -> Wire:
    wire = stack.enter_context(connect(gateway, certificate, client_id, version=version))
    assert wire.connected() is False
    return wire


def presence(gateway: Gateway) -> tuple[object, object]:
    said = gateway.presence("dev-1")
    return said.get("state"), said.get("reason")


def pings(wire: Wire) -> bool:
    wire.send(packet(0xC0))
    return wire.receive()[0] == PINGRESP


def status(gateway: Gateway) -> dict[str, int]:
    command = [sys.executable, "-m", "bridge", "status", "--json", "--config", str(gateway.config)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=60, check=False)
    clients: dict[str, int] = json.loads(done.stdout)["status"]["clients"]
    return clients


class Tools:
    """paho-mqtt and mosquitto's commands, all with the device's one certificate."""

    def __init__(self, gateway: Gateway, certificate: Path, stack: ExitStack) -> None:
        self.gateway, self.certificate, self.stack = gateway, certificate, stack

    def paho(self, client_id: str, topic_filter: str) -> list[bytes]:
        """Connects and subscribes; what it is sent."""
        got: list[bytes] = []
        ready: list[object] = []
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        client.tls_set(str(self.gateway.authority.pem), str(self.certificate), str(self.certificate))
        client.on_message = lambda _client, _data, message: got.append(message.payload)
        client.on_subscribe = lambda *_: ready.append(True)
        client.on_connect = lambda *_: client.subscribe(topic_filter, 1)
        client.on_disconnect = lambda *_: ready.append(False)
        client.connect("localhost", self.gateway.tls_port)
        client.loop_start()
        self.stack.callback(client.loop_stop)
        self.stack.callback(client.disconnect)
        wait_until(lambda: ready == [True], "it has subscribed")
        return got

    def command(self, program: str, client_id: str, *arguments: str) -> list[str]:
        found = shutil.which(program)
        if found is None:
            pytest.skip(f"{program} is not installed")
        tls = ["--cafile", self.gateway.authority.pem, "--cert", self.certificate, "--key", self.certificate]
        where = ["-h", "localhost", "-p", self.gateway.tls_port, "-i", client_id, "-q", "1"]
        return [str(part) for part in (found, *where, *tls, *arguments)]

    def mosquitto_sub(self, client_id: str, topic_filter: str, count: int) -> subprocess.Popen[str]:
        """Connected and subscribed; it prints so many messages and ends."""
        before = status(self.gateway)["subscriptions"]
        command = self.command("mosquitto_sub", client_id, "-t", topic_filter, "-C", str(count))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        wait_until(lambda: status(self.gateway)["subscriptions"] > before, "it has subscribed")
        return process

    def mosquitto_pub(self, client_id: str, topic: str, text: str) -> None:
        command = self.command("mosquitto_pub", client_id, "-t", topic, "-m", text)
        subprocess.run(command, check=True, timeout=20, capture_output=True)


def test_clients_of_others_share_a_certificate_and_nothing_else(gateway: Gateway, mine: Path) -> None:
    with ExitStack() as stack:
        tools = Tools(gateway, mine, stack)
        app, boot = tools.paho("app", "devices/dev-1/a/#"), tools.paho("boot", "devices/dev-1/b/#")
        logger = tools.mosquitto_sub("logger", "devices/dev-1/+/1", 3)
        tools.mosquitto_pub("publisher", "devices/dev-1/a/1", "to app")
        tools.mosquitto_pub("publisher", "devices/dev-1/b/1", "to boot")
        wait_until(lambda: (app, boot) == ([b"to app"], [b"to boot"]), "each has its own")
        clients = status(gateway)
        assert (clients["connected"], clients["devices"]) == (3, 1)
        wait_until(lambda: presence(gateway) == ("online", None), "its document")
        tools.mosquitto_pub("publisher", "devices/dev-1/c/1", "to nobody else")
        assert logger.communicate(timeout=20)[0].splitlines() == ["to app", "to boot", "to nobody else"]
    wait_until(lambda: presence(gateway) == ("offline", "disconnected"), "the last has gone")


def test_a_device_is_there_as_long_as_one_of_its_connections(gateway: Gateway, mine: Path) -> None:
    with connect(gateway, mine, "app") as app:
        app.connected()
        wait_until(lambda: presence(gateway) == ("online", None), "its document")
        since = gateway.presence("dev-1")["since"]
        with connect(gateway, mine, "boot", will=("devices/dev-1/telemetry/gone", b"boot is gone")) as boot:
            boot.connected()
            assert app.subscribe("devices/dev-1/telemetry/gone") == 0
        assert app.publication().payload == b"boot is gone"  # its will, as it went without a word
        assert pings(app)
        said = gateway.presence("dev-1")
        assert (said["state"], said["since"]) == ("online", since)
        wait_until(lambda: "gone device=dev-1" in gateway.log(), "one of them is gone")
        app.send(packet(0xE0))
        wait_until(lambda: presence(gateway) == ("offline", "disconnected"), "and now the other")
    wait_until(lambda: b"boot is gone" in gateway.forwarded(), "the will in Kafka")


def test_a_client_id_takes_over_its_own_session_and_nobody_else_s(gateway: Gateway, mine: Path) -> None:
    theirs = gateway.authority.device("dev-2")
    with connect(gateway, mine, "app", **KEPT) as app:
        app.connected()
        assert app.subscribe("devices/dev-1/secret/#", 1) == 1
        with connect(gateway, theirs, "app", **KEPT) as other, connect(gateway, theirs, "dev-1", **KEPT) as liar:
            assert (other.connected(), liar.connected()) == (False, False)
            assert pings(app)
    with connect(gateway, mine, "boot") as boot:
        boot.connected()
        boot.publish("devices/dev-1/secret/1", b"for dev-1's app")
        assert boot.packet_ids(PUBACK, 1) == [1]
    for client_id in ("app", "dev-1", "dev-1\x01app", "dev-1/app"):
        with connect(gateway, theirs, client_id, **KEPT) as other:
            other.connected()
            assert pings(other), "the first to come is the answer: nothing waited for it"
    with connect(gateway, mine, "app", **KEPT) as first:
        assert first.connected() is True
        assert first.publication().payload == b"for dev-1's app"
        with connect(gateway, mine, "app", **KEPT) as second:
            assert second.connected() is True
            assert first.receive() == (DISCONNECT, bytes([TAKEN_OVER]))


def test_a_client_id_with_a_nul_is_no_name_of_another_s_session(gateway: Gateway, mine: Path) -> None:
    with connect(gateway, mine, "app", **KEPT) as app, Wire(gateway.port, "dev-1\0app", **KEPT) as liar:
        app.connected()
        assert liar.connack().reason == MALFORMED
    assert gateway.log().count("connected device=dev-1") == 1


@pytest.mark.parametrize(("version", "refused"), [(5, QUOTA), (4, 3)])
def test_one_too_many_is_refused_or_ends_the_oldest(new_gateway: NewGateway, version: int, refused: int) -> None:
    settings = 'client_id = "prefix"\nconnections_per_identity = 2\nsecond_connection = "{}"'
    gateway = gateway_with(new_gateway, settings.format("refused"))
    mine = gateway.authority.device("dev-1")
    with ExitStack() as stack:
        _, two = (let_in(stack, gateway, mine, f"dev-1-{name}", version) for name in "ab")
        with connect(gateway, mine, "dev-1-c", version=version) as three:
            assert three.connack().reason == refused
        assert "connected already, with the client ids 'dev-1-a', 'dev-1-b'" in gateway.log()
        with connect(gateway, mine, "dev-1-a", version=version) as again:
            again.connected()
            assert pings(two)
    gateway.stop()
    gateway.config.write_text(gateway.config.read_text().replace('"refused"', '"takes-over"'))
    gateway.start()
    with ExitStack() as stack:
        one, two, three = (let_in(stack, gateway, mine, f"dev-1-{name}", version) for name in "abc")
        if version == 5:
            assert one.receive() == (DISCONNECT, bytes([TAKEN_OVER]))
        with pytest.raises(ConnectionError):
            one.receive()
        assert pings(two)
        assert pings(three)
        wait_until(lambda: presence(gateway) == ("online", None), "its document")


def test_sessions_that_nobody_comes_back_to_make_room(new_gateway: NewGateway) -> None:
    gateway = gateway_with(new_gateway, 'client_id = "any"\nconnections_per_identity = 3')
    mine = gateway.authority.device("dev-1")
    for number in range(6):
        with connect(gateway, mine, f"boot-{number}", **KEPT) as wire:
            assert wire.connected() is False
            wire.send(packet(0xE0))
        wait_until(lambda seen=number: gateway.log().count("gone device=dev-1") == seen + 1, "it is gone")  # type: ignore[misc]
    assert status(gateway)["known"] == 3
    for number, present in ((3, True), (0, False)):
        with connect(gateway, mine, f"boot-{number}", **KEPT) as wire:
            assert wire.connected() is present


def test_none_named_is_one_of_its_own(gateway: Gateway, mine: Path) -> None:
    with connect(gateway, mine, "") as one, connect(gateway, mine, "") as two:
        assigned = {each.connack().properties[ASSIGNED_CLIENT_ID] for each in (one, two)}
        assert len(assigned) == 2
        assert pings(one)


@pytest.mark.parametrize("released", [False, True], ids=["publish again", "release again"])
def test_a_kill_within_the_hand_shakes_of_two_sessions_doubles_and_loses_nothing(
    gateway: Gateway, mine: Path, released: bool
) -> None:
    names = ("app", "boot", "dev-1")
    content = {name: {topic: f"{name} {topic}".encode() for topic in (TELEMETRY, ALARM)} for name in names}

    def report(name: str) -> bytes:
        return json.dumps({name: name}).encode()

    with ExitStack() as stack:
        wires = {name: stack.enter_context(connect(gateway, mine, name, **KEPT)) for name in names}
        for name, wire in wires.items():
            assert not wire.connected()
            wire.publish(TELEMETRY, content[name][TELEMETRY], 2, 7)
            wire.publish(ALARM, content[name][ALARM], 2, 8)
            wire.publish(REPORTED, report(name), 2, 9)
            assert sorted(wire.packet_ids(PUBREC, 3)) == [7, 8, 9]
        wires["boot"].send(pubrel(7))
        assert wires["boot"].packet_ids(PUBCOMP, 1) == [7]
        gateway.kill()
    gateway.start()
    with ExitStack() as stack:
        wires = {name: stack.enter_context(connect(gateway, mine, name, **KEPT)) for name in names}
        for name, wire in wires.items():
            assert wire.connected()
            if name == "boot":  # its 7 is free, the others' is not
                wire.publish(TELEMETRY, b"boot again", 2, 7)
                assert wire.packet_ids(PUBREC, 1) == [7]
            elif not released:
                wire.publish(TELEMETRY, content[name][TELEMETRY], 2, 7, dup=True)
                assert wire.packet_ids(PUBREC, 1) == [7]
            if not released:
                wire.publish(ALARM, content[name][ALARM], 2, 8, dup=True)
                wire.publish(REPORTED, report(name), 2, 9, dup=True)
                assert sorted(wire.packet_ids(PUBREC, 2)) == [8, 9]
            wire.send(pubrel(7) + pubrel(8) + pubrel(9))
            assert sorted(wire.packet_ids(PUBCOMP, 3)) == [7, 8, 9]
            wire.publish(TELEMETRY, b"new " + name.encode(), 2, 7)
            assert wire.packet_ids(PUBREC, 1) == [7]
    sent = [content[name][TELEMETRY] for name in names] + [b"boot again"] + [b"new " + name.encode() for name in names]
    assert sorted(payload for _, payload in gateway.messages()) == sorted(sent)
    assert sorted(payload for _, payload in gateway.messages("alarm")) == sorted(content[name][ALARM] for name in names)
    document = gateway.documents("dev-1")[-1]["reported"]
    assert document["state"] == {name: name for name in names}
    assert document["version"] == 3
    assert whose(gateway, b"new app") == "app"
    assert whose(gateway, b"new dev-1") is None


def whose(gateway: Gateway, payload: bytes) -> str | None:
    """The client id in the headers of the record that the reader has."""
    wait_until(lambda: payload in gateway.forwarded(), "it is forwarded")
    lines = b"".join(path.read_bytes() for path in sorted((gateway.directory / "out").rglob("*.jsonl"))).splitlines()
    records = [json.loads(line) for line in lines]
    found = next(each for each in records if each["topic"] == "telemetry" and each["value"] == payload.decode())
    client_id: str | None = dict(found["headers"]).get("client-id")
    return client_id


def test_who_is_revoked_is_revoked_with_all_of_its_connections(gateway: Gateway, mine: Path) -> None:
    other = gateway.authority.device("dev-2")
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(gateway, mine, name)) for name in ("app", "boot", "dev-1")]
        staying = stack.enter_context(connect(gateway, other, "app"))
        assert [wire.connected() for wire in (*wires, staying)] == [False] * 4
        gateway.authority.revoke(mine)
        for wire in wires:
            assert wire.receive() == (DISCONNECT, bytes([NOT_ALLOWED]))
        wait_until(lambda: presence(gateway) == ("offline", "revoked"), "its document")
        assert pings(staying)


ROLES = """
[acl]
publish = ["devices/{device}/#"]
subscribe = ["devices/{device}/#"]
[acl.roles.editor]
ou = ["Editors"]
publish = ["news/#"]
subscribe = ["desk/#"]
"""


def test_rights_are_the_device_s_by_the_certificate_that_came_last(new_gateway: NewGateway) -> None:
    gateway = gateway_with(new_gateway, extra=ROLES)
    editor = gateway.authority.device("dev-1", units=["Editors"])
    with connect(gateway, editor, "app") as app:
        app.connected()
        assert app.subscribe("desk/#") == 0
        app.publish("news/1", b"x", 1, 1)
        assert app.packet_ids(PUBACK, 1) == [1]
        with connect(gateway, gateway.authority.device("dev-1"), "boot") as boot:
            boot.connected()
            assert "ended device=dev-1: its subscription desk/# is not allowed any more" in gateway.log()
            app.publish("news/1", b"x", 1, 2)
            kind, body = app.receive()
            assert (kind, body[2]) == (PUBACK, NOT_ALLOWED)
        assert app.subscribe("desk/#") == NOT_ALLOWED


def test_a_device_may_be_held_for_what_all_its_connections_send_together(new_gateway: NewGateway) -> None:
    gateway = gateway_with(new_gateway, extra='[limits]\nmessages_per_s = 1\nrate_burst = "5 s"\n')
    mine = gateway.authority.device("dev-1")
    with connect(gateway, mine, "app") as app, connect(gateway, mine, "boot") as boot:
        assert [app.connected(), boot.connected()] == [False, False]
        for wire in (app, boot):
            for number in range(1, 5):
                wire.publish(TELEMETRY, b"x", 1, number)
        assert app.packet_ids(PUBACK, 4) == boot.packet_ids(PUBACK, 4) == [1, 2, 3, 4]
        assert "held device=dev-1" in gateway.log(), "four each is within what one may, and eight are not"


@pytest.fixture
def two(gateway: Gateway, mine: Path) -> Iterator[tuple[Wire, Wire]]:
    with connect(gateway, mine, "app", **KEPT) as app, connect(gateway, mine, "boot", **KEPT) as boot:
        assert [app.connected(), boot.connected()] == [False, False]
        yield app, boot


def test_each_has_its_own_window_and_its_own_queue(gateway: Gateway, mine: Path, two: tuple[Wire, Wire]) -> None:
    app, boot = two
    assert (app.subscribe("devices/dev-1/x", 1), boot.subscribe("devices/dev-1/x", 1)) == (1, 1)
    app.publish("devices/dev-1/x", b"1", 1, 1)
    assert boot.publication().payload == b"1"
    app.sock.close()
    wait_until(lambda: "gone device=dev-1" in gateway.log(), "it is gone")
    boot.publish("devices/dev-1/x", b"2", 1, 1)
    assert boot.packet_ids(PUBACK, 1) == [1]
    assert boot.publication().payload == b"2"
    gateway.kill()
    gateway.start()
    with connect(gateway, mine, "app", **KEPT) as again:
        assert again.connected() is True
        assert [again.publication().payload for _ in range(2)] == [b"1", b"2"]
