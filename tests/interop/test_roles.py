"""Roles and denials on a running gateway: by certificate, by the members file, on wills, and when they change."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.conftest import NewGateway
from tests.interop.gateway import CHECKOUT, Gateway, wait_until
from tests.interop.wire import PUBACK, Wire

RULES = """
[acl]
publish = ["devices/{device}/#"]
subscribe = ["devices/{device}/#", "news/#"]
deny_subscribe = ["news/secret/#"]
members_file = "members.toml"
[acl.roles.editor]
ou = ["Editors"]
publish = ["news/#"]
deny_publish = ["news/locked"]
[acl.roles.reader]
subscribe = ["archive/#"]
"""
NOT_ALLOWED = 0x87


@pytest.fixture
def gateway(new_gateway: NewGateway) -> Gateway:
    made = new_gateway(RULES)
    members(made, '["dev-2"]')
    return made.start()


def members(gateway: Gateway, readers: str) -> None:
    copy = gateway.directory / "members.new"
    copy.write_text(f"reader = {readers}\n")
    copy.replace(gateway.directory / "members.toml")


def secured(gateway: Gateway, certificate: Path, **options: object) -> Wire:
    context = ssl.create_default_context(cafile=str(gateway.authority.pem))
    context.load_cert_chain(certificate)
    return Wire(gateway.tls_port, certificate.stem, tls=context, version=5, **options)  # type: ignore[arg-type]


def certs(*arguments: object) -> None:
    command = [sys.executable, "-m", "bridge", "certs", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def answer(wire: Wire, topic: str, packet_id: int) -> int:
    wire.publish(topic, b"x", 1, packet_id)
    kind, body = wire.receive()
    assert (kind, body[:2]) == (PUBACK, packet_id.to_bytes(2, "big"))
    return body[2] if len(body) > 2 else 0


def test_a_certificate_s_unit_is_a_role_and_denials_go_first(gateway: Gateway) -> None:
    editor = gateway.authority.device("ed-1", units=["Editors"])
    plain = gateway.authority.device("dev-1", units=["Elsewhere"])
    with secured(gateway, editor) as writing, secured(gateway, plain) as listening:
        assert (writing.connected(), listening.connected()) == (False, False)
        assert listening.subscribe("news/today") == 0
        assert listening.subscribe("$share/g/news/secret/x") == NOT_ALLOWED
        assert listening.subscribe("news/#") == NOT_ALLOWED, "it would be sent what is denied"
        assert answer(listening, "news/today", 1) == NOT_ALLOWED
        assert [answer(writing, f"news/{name}", 2) for name in ("today", "locked")] == [0, NOT_ALLOWED]
        assert listening.publication().topic == "news/today"


def test_the_role_that_our_own_ca_gave_decides(new_gateway: NewGateway, tmp_path: Path) -> None:
    gateway = new_gateway(RULES)
    certs("init", "--dir", tmp_path / "ca")
    certs("issue", "panel-1", "--ou", "Editors", "--dir", tmp_path / "ca", "--out", tmp_path)
    certs("issue", "panel-2", "--dir", tmp_path / "ca", "--out", tmp_path)
    trusted = gateway.config.read_text().replace(f'"{gateway.authority.pem}"', f'"{tmp_path}/ca/ca.pem"')
    gateway.config.write_text(trusted)
    members(gateway, "[]")
    gateway.start()
    for device, reason in (("panel-1", 0), ("panel-2", NOT_ALLOWED)):
        with secured(gateway, tmp_path / f"{device}.pem") as wire:
            wire.connected()
            assert answer(wire, "news/today", 1) == reason
    certs("renew", "panel-1", "--dir", tmp_path / "ca", "--out", tmp_path)
    with secured(gateway, tmp_path / "panel-1.pem") as wire:
        wire.connected()
        assert answer(wire, "news/today", 1) == 0


def test_a_member_loses_what_the_file_takes_from_it(gateway: Gateway) -> None:
    with Wire(gateway.port, "dev-2", version=5) as wire, Wire(gateway.port, "dev-3", version=5) as other:
        assert (wire.connected(), other.connected()) == (False, False)
        assert [wire.subscribe("archive/#"), other.subscribe("archive/#")] == [0, NOT_ALLOWED]
        members(gateway, '["dev-3"]')
        wait_until(lambda: "its subscription archive/# is not allowed any more" in gateway.log(), "taken back")
        assert [wire.subscribe("archive/#"), other.subscribe("archive/#")] == [NOT_ALLOWED, 0]
        members(gateway, '["dev/3"]')
        wait_until(lambda: "kept the old acl: " in gateway.log(), "a word about it")
        assert other.subscribe("archive/2024/#") == 0


@pytest.mark.parametrize(("version", "reason"), [(5, NOT_ALLOWED), (4, 5)])
def test_a_will_that_may_not_be_published_is_refused_with_its_connect(
    gateway: Gateway, version: int, reason: int
) -> None:
    with Wire(gateway.port, "dev-1", version=version, will=("news/obituary", b"x")) as wire:
        assert wire.connack().reason == reason
    said = "refused device=dev-1 peer=127.0.0.1"
    assert said in gateway.log()
    assert "its will may not be published on news/obituary (no rule allows it)" in gateway.log()


def test_a_session_that_goes_on_with_a_lesser_certificate_keeps_only_what_that_may(gateway: Gateway) -> None:
    gateway.authority.device("boss", units=["Editors"])
    old = gateway.config.read_text()
    gateway.config.write_text(old.replace('publish = ["news/#"]', 'publish = ["news/#"]\nsubscribe = ["desk/#"]'))
    wait_until(lambda: "acl has changed and is in force" in gateway.log(), "the ACL is read")
    certificate = gateway.authority.directory / "boss.pem"
    with secured(gateway, certificate, expiry_s=600) as wire:
        wire.connected()
        assert (wire.subscribe("desk/#"), wire.subscribe("news/today")) == (0, 0)
    gateway.stop()
    gateway.start()
    gateway.config.write_text(gateway.config.read_text().replace('deny_publish = ["news/locked"]', ""))
    wait_until(lambda: gateway.log().count("acl has changed") == 2, "the ACL is read")
    assert "desk/# is not allowed" not in gateway.log(), "its unit is known while it is away"
    gateway.authority.device("boss")
    with secured(gateway, certificate, expiry_s=600, clean=False) as wire:
        assert wire.connected() is True
        assert "ended device=boss: its subscription desk/# is not allowed any more" in gateway.log()
        assert wire.subscribe("desk/#") == NOT_ALLOWED


def test_a_will_is_judged_by_the_role_of_who_left_it_after_a_kill_too(gateway: Gateway) -> None:
    editor = gateway.authority.device("ed-1", units=["Editors"])
    with secured(gateway, editor, will=("news/obituary", b"x")) as wire:
        wire.connected()
        gateway.kill()
    gateway.start()
    assert "its will may not be published there" not in gateway.log()


def check(gateway: Gateway, *asked: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "bridge", "check", "--config", str(gateway.config), *asked]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=60, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def test_check_says_which_rule_decides(new_gateway: NewGateway) -> None:
    made = new_gateway(RULES)
    members(made, '["dev-2"]')
    said = 'dev-1 may publish on devices/dev-1/x: acl.publish[0] "devices/{device}/#"'
    assert check(made, "--acl", "dev-1", "devices/dev-1/x") == (0, said)
    code, said = check(made, "--acl", "dev-1", "news/locked", "--role", "editor")
    rule = 'acl.roles.editor.deny_publish[0] "news/locked"'
    assert (code, said) == (3, f"busbridge: dev-1 (roles: editor) may not publish on news/locked: {rule}")
    code, said = check(made, "--acl", "dev-2", "archive/#", "--subscribe")
    assert (code, said.endswith('acl.roles.reader.subscribe[0] "archive/#"')) == (0, True)
    assert check(made, "--acl", "dev-1", "archive/#", "--subscribe")[0] == 3
    assert check(made, "--acl", "dev-1", "archive/#")[0] == 2
    assert check(made, "--acl", "dev/1", "archive/x")[0] == 2
    assert check(made, "--acl", "dev-1", "a", "--role", "nobody")[0] == 2
    members(made, '["dev/2"]')
    assert "has characters outside" in check(made)[1]
