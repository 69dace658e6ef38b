"""Devices without certificates: passwords and tokens, over TLS only, beside those that have one."""

from __future__ import annotations

import itertools
import json
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from bridge.security.users import hashed, put_user
from tests.bench.support.certificates import Authority
from tests.interop.conftest import NewGateway
from tests.interop.gateway import CHECKOUT, Gateway, wait_until
from tests.interop.wire import CONNACK, DISCONNECT, PUBACK, Wire

SECTIONS = """
[users]
file = "users"
[jwt]
keys = "jwks.json"
audience = "gw-test"
"""
WRONG, NOT_ALLOWED, NOT_VALID = (0x86, 4), (0x87, 5), (0x85, 2)
"""In MQTT 5 and in 3.1.1."""
SECRET = b"correct horse"
SIGNER, OTHER = ECKey.generate_key("P-256", auto_kid=True), ECKey.generate_key("P-256", auto_kid=True)


def put_keys(gateway: Gateway, *keys: ECKey) -> None:
    entries = [key.as_dict(private=False) for key in KeySet(list(keys)).keys]
    (gateway.directory / "jwks.new").write_text(json.dumps({"keys": entries}))
    (gateway.directory / "jwks.new").replace(gateway.directory / "jwks.json")


def token(device: str, lives_s: float = 600, key: ECKey = SIGNER, audience: str = "gw-test") -> bytes:
    claims = {"sub": device, "aud": audience, "exp": int(time.time() + lives_s)}
    return jwt.encode({"alg": "ES256", "kid": key.kid}, claims, key).encode()


def make(new_gateway: NewGateway, methods: str, sections: str = SECTIONS) -> Gateway:
    made = new_gateway(sections)
    made.config.write_text(made.config.read_text().replace("tls = {", f"authentication = {methods}\ntls = {{"))
    put_user(made.directory / "users", "panel-1", hashed(SECRET))
    put_user(made.directory / "users", "panel-2", hashed(SECRET))
    put_keys(made, SIGNER)
    return made


@pytest.fixture
def gateway(new_gateway: NewGateway) -> Gateway:
    return make(new_gateway, '["certificate", "password", "jwt"]').start()


def connect(
    gateway: Gateway,
    client_id: str,
    username: str | None = None,
    password: bytes | None = None,
    *,
    certificate: Path | None = None,
    version: int = 5,
    send: bytes = b"",
) -> Wire:
    context = ssl.create_default_context(cafile=str(gateway.authority.pem))
    if certificate is not None:
        context.load_cert_chain(certificate)
    wire = Wire(gateway.tls_port, client_id, tls=context, version=version, username=username, password=password)
    wire.send(send)
    return wire


def works(wire: Wire, device: str) -> bool:
    wire.publish(f"devices/{device}/telemetry/t", device.encode())
    return wire.packet_ids(PUBACK, 1) == [1]


@pytest.mark.parametrize("version", [5, 4])
def test_each_comes_as_it_can(gateway: Gateway, version: int) -> None:
    mine = gateway.authority.device("dev-1")
    with (
        connect(gateway, "panel-1", "panel-1", SECRET, version=version) as by_password,
        connect(gateway, "app-1", "whoever", token("app-1"), version=version) as by_token,
        connect(gateway, "dev-1", "panel-1", b"nonsense", certificate=mine, version=version) as by_certificate,
    ):
        for wire, device in ((by_password, "panel-1"), (by_token, "app-1"), (by_certificate, "dev-1")):
            wire.connected()
            assert works(wire, device)
    assert sorted(gateway.messages()) == [(name, name.encode()) for name in ("app-1", "dev-1", "panel-1")]


CANNOT: list[tuple[str | None, bytes | None, tuple[int, int], str]] = [
    ("panel-1", b"wrong", WRONG, "there is no user 'panel-1', or the password is wrong"),
    ("nobody", SECRET, WRONG, "there is no user 'nobody', or the password is wrong"),
    ("panel-1", None, NOT_ALLOWED, "it shows none of: certificate, password, jwt"),
    (None, None, NOT_ALLOWED, "it shows none of: certificate, password, jwt"),
    ("panel-2", SECRET, NOT_VALID, "its client id 'panel-1' is not its user name or token's 'panel-2'"),
    ("x", token("panel-1", -60), WRONG, "its token is not good: expired_token"),
    ("x", token("panel-1", audience="other"), WRONG, "its token is not good: invalid_claim"),
    ("x", token("panel-1", key=OTHER), WRONG, "its token names none of our keys"),
    ("x", token("panel-2"), NOT_VALID, "its client id 'panel-1' is not its user name or token's 'panel-2'"),
]


def test_who_cannot_show_it_is_told_so_in_one_line(gateway: Gateway) -> None:
    for (username, password, answer, said), version in itertools.product(CANNOT, (5, 4)):
        before = gateway.log().count("refused device=")
        with connect(gateway, "panel-1", username, password, version=version) as wire:
            end = b"\0" if version == 5 else b""
            assert wire.receive() == (CONNACK, bytes([0, answer[version == 4]]) + end), said
        lines = [line for line in gateway.log().splitlines() if "refused device=" in line][before:]
        assert len(lines) == 1
        assert said in lines[0]
        assert "eyJ" not in lines[0]


def test_a_bad_certificate_is_not_made_good_by_a_password(gateway: Gateway) -> None:
    stranger = Authority(gateway.directory / "theirs", "their CA").device("panel-1")
    with (
        pytest.raises(OSError, match=r".*"),
        connect(gateway, "panel-1", "panel-1", SECRET, certificate=stranger) as wire,
    ):
        wire.connected()
    wait_until(lambda: "its certificate is from a CA that is not ours" in gateway.log(), "a word about it")


def test_who_loses_his_account_is_out_and_nobody_else(gateway: Gateway) -> None:
    users = gateway.directory / "users"
    with (
        connect(gateway, "panel-1", "panel-1", SECRET) as leaving,
        connect(gateway, "panel-2", "panel-2", SECRET) as staying,
        connect(gateway, "app-1", None, token("app-1")) as bearing,
    ):
        assert [wire.connected() for wire in (leaving, staying, bearing)] == [False] * 3
        put_user(users, "panel-1", hashed(b"another one"))
        assert leaving.receive() == (DISCONNECT, b"\x87")
        assert "ended device=panel-1 peer=127.0.0.1" in gateway.log()
        assert works(staying, "panel-2")
        put_keys(gateway, OTHER)
        assert bearing.receive() == (DISCONNECT, b"\x87")
        assert "its token was signed with a key that is not in force any more" in gateway.log()
        users.write_text("no users file at all")
        wait_until(lambda: "kept the old users: " in gateway.log(), "a word about it")
        assert works(staying, "panel-2")
    with connect(gateway, "panel-1", "panel-1", b"another one") as wire:
        wire.connected()


def test_what_is_sent_behind_connect_waits_until_the_password_is_verified(gateway: Gateway) -> None:
    wires = [connect(gateway, f"panel-{1 + n % 2}", f"panel-{1 + n % 2}", SECRET, send=b"\xc0\0") for n in range(20)]
    answers = [wire.receive() for wire in wires[-2:]]
    assert [(kind, body[1]) for kind, body in answers] == [(CONNACK, 0)] * 2
    assert [wire.receive() for wire in wires[-2:]] == [(0xD0, b"")] * 2
    for wire in wires:
        wire.sock.close()
    assert "Traceback" not in gateway.log()


def test_without_certificates_nobody_is_asked_for_one(new_gateway: NewGateway) -> None:
    made = make(new_gateway, '["password"]', '[users]\nfile = "users"\n')
    text = made.config.read_text()
    made.config.write_text(text.replace(f', client_ca = "{made.authority.pem}"', ""))
    assert "client_ca" not in made.config.read_text()
    gateway = made.start()
    with connect(gateway, "panel-1", "panel-1", SECRET, certificate=gateway.authority.device("x")) as wire:
        wire.connected()
        assert works(wire, "panel-1")
    with connect(gateway, "app-1", None, token("app-1")) as wire:
        assert wire.connack().reason == NOT_ALLOWED[0]


def test_users_add_makes_what_the_gateway_takes(gateway: Gateway) -> None:
    def add(*options: str, password: bytes = b"a good password\n") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "bridge", "users", "add", *options]
        return subprocess.run(command, input=password, capture_output=True, cwd=CHECKOUT, timeout=60, check=False)

    users = str(gateway.directory / "users")
    done = add("panel-9", "--file", users)
    assert (done.returncode, done.stdout.decode().split(" in ")[0]) == (0, "panel-9 has a password")
    wait_until(lambda: gateway.log().count("files have changed") == 1, "it is read")
    with connect(gateway, "panel-9", "panel-9", b"a good password") as wire:
        wire.connected()
    assert add("panel-9").stdout.startswith(b"panel-9:$argon2id$v=19$m=19456,t=2,p=1$")
    assert add("panel/9").returncode == 2
    assert add("panel-9", password=b"short\n").returncode == 2
