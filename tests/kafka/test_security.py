"""Every way to log in to a real Kafka: wrong at first, one clear line, then put right while the process lives."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.support.kafka.fetch import CHECKOUT
from tests.support.kafka.ledger import exactly_once_in_order
from tests.support.kafka.relay import Relay
from tests.support.kafka.secure import PASSWORD, USER, SecureBroker
from tests.support.kafka.token_server import TokenServer

DEVICES = ["dev-1", "dev-2"]
MUTUAL = 'protocol = "SSL"\nca = "ca.pem"\ncertificate = "gw.pem"\nprivate_key = "gw.key"\n'
LOGIN = f'protocol = "SASL_SSL"\nca = "ca.pem"\nusername = "{USER}"\npassword_file = "password"\nmechanism = '
TOKEN = (
    'protocol = "SASL_SSL"\nca = "ca.pem"\nmechanism = "OAUTHBEARER"\nclient_id = "gw:1"\n'
    'client_secret_file = "password"\nscope = "kafka"\ntoken_endpoint = '
)
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    broker = SecureBroker(tmp_path_factory.mktemp("secure"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def tokens():
    server = TokenServer("gw:1", PASSWORD)
    yield server
    server.close()


class Gateway:
    """A site whose files of `[kafka.security]` can be put right."""

    def __init__(self, make_site, secure, security, listener, extra=""):
        self.server = secure.broker.address
        self.site = make_site(
            f"localhost:{secure.ports.get(listener, listener)}", extra=f"{extra}[kafka.security]\n{security}"
        )
        self.write("ca.pem", secure.authority.credential.certificate_pem())
        self.certify(secure.client())
        self.write("password", PASSWORD.encode())

    def write(self, name, data):
        path = self.site.log.parent / name
        path.touch(0o600)
        path.write_bytes(data)

    def certify(self, credential):
        self.write("gw.pem", credential.certificate_pem())
        self.write("gw.key", credential.key_pem())

    def is_away(self, *words):
        """One line says why, whatever is tried again; it is in the health, too."""
        self.site.feed.publish(DEVICES, 3)
        bus = self.site.start()
        bus.listen_until(lambda: all(word in bus.health.detail for word in words), 10)
        time.sleep(0.3)
        assert self.site.said("is away") == 1
        assert len(self.site.log.read_text().splitlines()) == 1
        assert all(self.site.said(word) == 1 for word in words)
        assert bus.health.state == "away"

    def check(self):
        """What `busbridge check --connect` says."""
        config = self.site.log.parent / "busbridge.toml"
        command = [sys.executable, "-m", "bridge", "check", "--connect", "--config", config]
        return subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=60)

    def works(self, read):
        if self.site.bus is None:
            self.site.start()
        self.site.feed.publish(DEVICES, 3)
        self.site.wait()
        assert not self.site.bus.ended
        assert exactly_once_in_order(read(self.server, self.site.topic), self.site.feed.written)
        assert PASSWORD not in self.site.log.read_text()


@pytest.fixture
def gateway(make_site, secure):
    return partial(Gateway, make_site, secure)


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ("expired", ("it refused our certificate", "gw.pem has expired on")),
        ("stranger", ("it refused our certificate",)),
        ("garbage", ("gw.pem and the key", "cannot be used")),
    ],
)
def test_our_certificate(ours, words, gateway, secure, read):
    site = gateway(MUTUAL, "MUTUAL")
    if ours == "garbage":
        site.write("gw.pem", b"not a certificate")
    else:
        expired = ours == "expired"
        site.certify(secure.client(None if expired else secure.stranger, expired=expired))
    site.is_away(*words)
    site.certify(secure.client())
    site.works(read)


def test_no_certificate(gateway):
    gateway('protocol = "SSL"\nca = "ca.pem"\n', "MUTUAL").is_away("wants one and got none")


def test_unknown_ca(gateway, secure, read):
    site = gateway(MUTUAL, "MUTUAL")
    site.write("ca.pem", secure.stranger.credential.certificate_pem())
    site.is_away("its certificate is from a CA that is not ours")
    site.write("ca.pem", secure.authority.credential.certificate_pem())
    site.works(read)


@pytest.mark.parametrize(
    ("listener", "words"),
    [("EXPIRED", "its certificate has expired"), ("ELSEWHERE", "its certificate is for another host name")],
    ids=["expired", "elsewhere"],
)
def test_brokers_certificate(listener, words, gateway, secure, read):
    relay = Relay(secure.ports[listener])
    site = gateway(MUTUAL, relay.port)
    site.is_away(words)
    relay.target = secure.ports["MUTUAL"]
    site.works(read)
    relay.close()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_password(mechanism, gateway, read):
    site = gateway(f'{LOGIN}"{mechanism}"\n', "LOGIN")
    site.write("password", b"some other word")
    site.is_away("it refused our log-in", "Authentication failed")
    site.write("password", PASSWORD.encode())
    site.works(read)


def test_password_file_that_is_not_there_yet(gateway, read):
    site = gateway(f'{LOGIN}"PLAIN"\n', "LOGIN")
    (site.site.log.parent / "password").unlink()
    site.is_away("the secret in", "cannot be read")
    site.write("password", PASSWORD.encode())
    site.works(read)


def test_password_that_everybody_may_read_is_not_used(gateway, read):
    site = gateway(f'{LOGIN}"PLAIN"\n', "LOGIN")
    password = site.site.log.parent / "password"
    password.chmod(0o644)
    site.is_away("every user of this machine can get at (mode 0644)")
    password.chmod(0o600)
    site.works(read)


def test_mechanism_that_kafka_does_not_have(gateway):
    gateway(f'{LOGIN}"PLAIN"\n', "TOKEN").is_away("does not take our way to log in")


def test_token_server_refuses_us(gateway, tokens, read):
    site = gateway(f'{TOKEN}"{tokens.url}"\n', "TOKEN")
    site.write("password", b"some other word")
    site.is_away("the token server", "refused us: 401")
    site.write("password", PASSWORD.encode())
    site.works(read)


def test_token_that_kafka_does_not_accept(gateway, tokens, read):
    tokens.skew_s = 3600
    site = gateway(f'{TOKEN}"{tokens.url}"\n', "TOKEN")
    site.is_away("a token that it does not accept")
    tokens.skew_s = 0
    site.works(read)


def connections_to(port, pid):
    """The process's open sockets to this port, by inode (proc(5): /proc/PID/net/tcp and /proc/PID/fd)."""
    tables = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()]
    there = {row[9] for row in rows if row[2].endswith(f":{port:04X}")}
    own = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    return {inode for inode in there if f"socket:[{inode}]" in own}


def test_log_ins_that_end_in_the_middle(gateway, secure, tokens, read):
    """Kafka ends connections whose log-in is older than it allows (connections.max.reauth.ms, KIP-368)."""
    site = gateway(f'{TOKEN}"{tokens.url}"\n', "REAUTH")
    bus = site.site.start()
    site.site.wait_for("connected")
    first = connections_to(secure.ports["REAUTH"], bus.pid)
    assert first
    end = time.monotonic() + 6
    while time.monotonic() < end:
        site.site.feed.publish(DEVICES, 5)
        site.site.tell()
        site.site.bus.listen(0.02)
    site.works(read)
    # One that nothing is sent on may stay; those in use were closed by Kafka, and opened anew.
    assert connections_to(secure.ports["REAUTH"], bus.pid) - first
    assert not site.site.said("refused")
    assert not site.site.said("Traceback")


def test_an_account_that_may_not_write_idempotently(gateway, secure, read):
    site = gateway(f'{LOGIN}"SCRAM-SHA-512"\n', "LOGIN", 'delivery = "at_least_once"\n')
    denials = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", operation, AclPermissionType.DENY)
        for kind, name, operation in (
            (ResourceType.BROKER, "kafka-cluster", AclOperation.IDEMPOTENT_WRITE),
            (ResourceType.TOPIC, "*", AclOperation.WRITE),
        )
    ]
    admin = AdminClient({"bootstrap.servers": secure.broker.address})
    for done in admin.create_acls(denials).values():
        done.result(30)
    site.site.feed.publish(DEVICES, 3)
    bus = site.site.start()
    bus.listen_until(lambda: bus.health.state == "refused")
    assert "may not write idempotently: it needs IdempotentWrite on the cluster" in bus.health.detail
    assert len(site.site.log.read_text().splitlines()) == 1
    found = site.check()
    assert found.returncode == 3
    assert "idempotent writes: this account may not write idempotently" in found.stderr
    filters = [AclBindingFilter(*denial) for denial in map(_all_of, denials)]
    for done in admin.delete_acls(filters).values():
        done.result(30)
    site.works(read)


def _all_of(acl):
    where = (acl.restype, acl.name, acl.resource_pattern_type, acl.principal, acl.host)
    return (*where, acl.operation, acl.permission_type)


def test_tokens_that_end_in_the_middle(gateway, tokens, read):
    tokens.life_s = 2
    site = gateway(f'{TOKEN}"{tokens.url}"\n', "TOKEN")
    site.site.start()
    end = time.monotonic() + 6
    while time.monotonic() < end:
        site.site.feed.publish(DEVICES, 5)
        site.site.tell()
        site.site.bus.listen(0.02)
    site.works(read)
    assert tokens.issued >= 3


@pytest.mark.parametrize("way", [*MECHANISMS, "OAUTHBEARER", "MUTUAL"])
def test_no_secret_is_logged_at_debug(way, gateway, secure, tokens, read):
    security = {"OAUTHBEARER": f'{TOKEN}"{tokens.url}"\n', "MUTUAL": MUTUAL}.get(way, f'{LOGIN}"{way}"\n')
    listener = {"OAUTHBEARER": "TOKEN", "MUTUAL": "MUTUAL"}.get(way, "LOGIN")
    site = gateway(security, listener, '[log]\nlevel = "debug"\n')
    site.works(read)
    said = site.site.log.read_text()
    key = (site.site.log.parent / "gw.key").read_text().splitlines()[1]
    pair = base64.b64encode(f"{quote_plus('gw:1')}:{quote_plus(PASSWORD)}".encode()).decode()
    for secret in (PASSWORD, pair, base64.b64encode(PASSWORD.encode()).decode(), key, *tokens.given):
        assert secret not in said
    assert (len(tokens.given) > 0) == (way == "OAUTHBEARER")
