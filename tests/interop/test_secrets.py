"""Secrets that were planted are found in nothing that the daemon says; and one that everybody may read is not used."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from bridge.credentials import SecretError, secret
from bridge.security import keys
from bridge.security.users import hashed, put_user
from tests.interop.conftest import NewGateway
from tests.interop.gateway import CHECKOUT, Gateway, wait_until
from tests.interop.paho_device import Device
from tests.interop.wire import Wire
from tests.support.ports import free_port

PASSWORD, ANOTHER = "planted-Kafka-pässword", "planted-registry-password"
BY_PASSWORD = 'protocol = "SASL_SSL"\nmechanism = "PLAIN"\nusername = "gw"\npassword_file = "kafka-password"\n'
BY_TOKEN = (
    'protocol = "SASL_SSL"\nmechanism = "OAUTHBEARER"\nclient_id = "gw"\nclient_secret_file = "kafka-password"\n'
    'token_endpoint = "http://127.0.0.1:{dead}/token"\n'
)
REST = """
[[routes]]
filter = "devices/{{device}}/telemetry/#"
topic = "telemetry"
seal = "seal"
recipients = ["team"]
[[routes]]
filter = "devices/{{device}}/judged/#"
topic = "judged"
seal = "plain"
schema = {{ registry = "device" }}
[recipients.team]
public_key = "team.pub"
[schema_registry]
url = "https://127.0.0.1:{dead}"
username = "gw"
password_file = "registry-password"
[queue]
free_space_floor = "1 MiB"
segment_bytes = "2.5 MiB"
encrypt = true
encrypt_key_file = "queue.key"
[admin]
bind = "127.0.0.1:{admin}"
[log]
level = "debug"
[kafka]
bootstrap_servers = ["127.0.0.1:{dead}"]
request_timeout = "500 ms"
[kafka.security]
"""


def plant(path: Path, text: str) -> str:
    path.touch(0o600)
    path.write_text(text)
    return text


class Planted:
    """A gateway with a secret of every kind, and where they could be seen."""

    def __init__(self, new_gateway: NewGateway, security: str) -> None:
        self.admin = free_port()
        places = {"admin": self.admin, "dead": free_port()}
        self.gateway: Gateway = new_gateway((REST + security).format(**places), routes="", sink="")
        directory = self.gateway.directory
        self.server_key = Path(self.gateway.config.read_text().split('private_key = "')[1].split('"')[0])
        keys.new("team", directory)
        plant(directory / "kafka-password", PASSWORD)
        plant(directory / "registry-password", ANOTHER)
        self.secrets = [PASSWORD, ANOTHER, plant(directory / "queue.key", os.urandom(32).hex())]
        for account in (PASSWORD, ANOTHER):
            self.secrets += [base64.b64encode(each.encode()).decode() for each in (account, f"gw:{account}")]
            self.secrets += [account.encode().hex(), repr(account.encode())[2:-1]]
        for file in (directory / "team.key", self.server_key):
            self.secrets += [line for line in file.read_text().splitlines() if len(line) > 40 and "-" not in line[:5]][
                :1
            ]
        assert len(self.secrets) == 13

    def told(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "bridge", *command, "--config", str(self.gateway.config)],
            cwd=CHECKOUT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    def page(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=30) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())

    def nowhere_in(self, *texts: str) -> None:
        for text in texts:
            assert text
            assert [each for each in self.secrets if each in text] == []


@pytest.mark.parametrize("security", [BY_PASSWORD, BY_TOKEN], ids=["password", "token"])
def test_secrets_stand_in_nothing_that_is_said(new_gateway: NewGateway, security: str) -> None:
    planted = Planted(new_gateway, security)
    gateway = planted.gateway.start()
    with Device(gateway.port, "dev") as device:
        device.publish("devices/dev/telemetry/t", b"x", 1)
        device.publish("devices/dev/judged/t", b"\0\0\0\0\1{}", 1)
    wait_until(lambda: "is away" in gateway.log(), "Kafka is looked for")
    status = planted.told("status", "--json")
    assert json.loads(status)["status"]["gateway"] == "gw-test"
    planted.nowhere_in(status, planted.told("status"), *map(planted.page, ("/status", "/metrics", "/health/ready")))
    planted.nowhere_in(planted.told("check"), planted.told("check", "--connect"))
    processes = [gateway.pid, *children(gateway.pid)]
    assert len(processes) == 2
    for process in processes:
        planted.nowhere_in(Path(f"/proc/{process}/cmdline").read_text(), Path(f"/proc/{process}/environ").read_text())
        limits = Path(f"/proc/{process}/limits").read_text().splitlines()
        (core,) = [line.split()[4:6] for line in limits if line.startswith("Max core file size")]
        assert core == ["0", "0"]
    assert gateway.stop() == 0
    planted.nowhere_in(gateway.log())


def test_what_devices_show_stands_in_nothing_that_is_said(new_gateway: NewGateway) -> None:
    made = new_gateway('[users]\nfile = "users"\n[jwt]\nkeys = "jwks.json"\naudience = "gw"\n[log]\nlevel = "debug"\n')
    made.config.write_text(made.config.read_text().replace("tls = {", 'authentication = ["password", "jwt"]\ntls = {'))
    put_user(made.directory / "users", "panel-1", hashed(PASSWORD.encode()))
    signer = ECKey.generate_key("P-256", auto_kid=True)
    public = KeySet([signer]).keys[0].as_dict(private=False)
    (made.directory / "jwks.json").write_text(json.dumps({"keys": [public]}))
    bearing = jwt.encode({"alg": "ES256", "kid": signer.kid}, {"sub": "app-1", "aud": "gw", "exp": 1 << 33}, signer)
    over = jwt.encode({"alg": "ES256", "kid": signer.kid}, {"sub": "app-1", "aud": "gw", "exp": 1 << 30}, signer)
    gateway = made.start()
    shown = [PASSWORD, ANOTHER, bearing, over, bearing[:-2]]
    for password, good in zip(shown, (True, False, True, False, False), strict=True):
        name = "app-1" if password.startswith("eyJ") else "panel-1"
        context = ssl.create_default_context(cafile=str(gateway.authority.pem))
        with Wire(gateway.tls_port, name, tls=context, version=5, username=name, password=password.encode()) as wire:
            assert (wire.connack().reason == 0) is good
            if good:
                wire.send(b"\0\0")  # and something that is said about it
    wait_until(lambda: gateway.log().count("refused device=") == 5, "a word of each")
    status = subprocess.run(
        [sys.executable, "-m", "bridge", "status", "--json", "--config", str(gateway.config)],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert gateway.stop() == 0
    said = gateway.log() + status
    parts = [part for each in (bearing, over) for part in each.split(".")[1:]]
    stored = (made.directory / "users").read_text().rpartition("$")[2].strip()
    assert [each for each in (*shown, *parts, repr(PASSWORD.encode())[2:-1], stored) if each in said] == []
    on_disk = b"".join(path.read_bytes() for path in (made.directory / "data").rglob("*") if path.is_file())
    assert [each for each in (*shown, *parts) if each.encode() in on_disk] == []


def children(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_secrets_that_everybody_may_read_are_said_and_not_used(new_gateway: NewGateway) -> None:
    planted = Planted(new_gateway, BY_PASSWORD)
    assert "All well." in planted.told("check")
    directory = planted.gateway.directory
    files = [*(directory / name for name in ("kafka-password", "registry-password", "queue.key")), planted.server_key]
    for file in files:
        file.chmod(0o644)
    said = planted.told("check")
    for file in files:
        assert f"{file} is a secret that every user of this machine can get at (mode 0644); chmod 600" in said
    planted.nowhere_in(said)


def test_an_error_does_not_show_what_a_damaged_secret_holds(new_gateway: NewGateway) -> None:
    planted = Planted(new_gateway, BY_PASSWORD)
    for name in ("kafka-password", "queue.key", "team.key"):
        (planted.gateway.directory / name).write_text("half-of-a-key")
    planted.secrets.append("half-of-a-key")
    said = planted.told("check")
    assert "queue.key is no queue key" in said
    planted.nowhere_in(said)
    with pytest.raises(keys.KeyFileError) as refused:
        keys.load_private(planted.gateway.directory / "team.key")
    planted.nowhere_in(str(refused.value))


def test_a_credential_of_systemd_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    plant(tmp_path / "credentials" / "kafka-password", f"{PASSWORD}\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    assert secret(tmp_path / "kafka-password", environ) == PASSWORD
    with pytest.raises(SecretError, match="cannot be read"):
        secret(tmp_path / "kafka-password", {})
    (tmp_path / "credentials" / "kafka-password").chmod(0o604)
    with pytest.raises(SecretError, match="mode 0604"):
        secret(tmp_path / "kafka-password", environ)


def test_a_readers_key_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    _, private = keys.new("team", tmp_path)
    assert keys.load_private(private).secret
    private.chmod(0o640)
    assert keys.load_private(private).secret
    private.chmod(0o644)
    with pytest.raises(keys.KeyFileError, match="mode 0644"):
        keys.load_private(private)
