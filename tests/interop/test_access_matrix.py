"""Who is let in and what he may then do: every kind of credential, TLS version, MQTT version and request.

One daemon for all. Each cell is one connection that sends its request right behind CONNECT, as somebody would who does
not wait for an answer; what came back and what the log says of this very peer is compared.
"""

from __future__ import annotations

import datetime
import itertools
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.bench.support.certificates import DAY, Authority
from tests.interop.gateway import Gateway, wait_until
from tests.interop.wire import CONNACK, PUBACK, SUBACK, Wire, publish, subscribe

MINE, OTHERS = "devices/{}/telemetry/t", "devices/other/telemetry/t"
UNTRUSTED = {
    "no certificate": "it presented no certificate",
    "other CA": "its certificate is from a CA that is not ours",
    "expired": "its certificate has expired",
    "not yet valid": "its certificate is not valid yet",
    "revoked": "its certificate has been revoked",
    "wrong key usage": "its certificate is not for clients (extended key usage)",
}
REQUESTS = ("publish allowed", "publish denied", "subscribe allowed", "subscribe denied", "will denied")
TLS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
HOUR = datetime.timedelta(hours=1)


class Outcome(NamedTuple):
    """What one cell came to."""

    answers: list[tuple[int, int]]
    """Kind and reason of each packet that came."""
    lines: list[str]
    """What the log says of this peer."""


class Site:
    """The daemon, and somebody with each kind of credential."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        ours, theirs = gateway.authority, Authority(gateway.directory / "theirs", "their CA")
        self.credentials: dict[str, Path | None] = {
            "no certificate": None,
            "other CA": theirs.device("other-ca"),
            "expired": ours.device("expired", -2 * DAY, -HOUR),
            "not yet valid": ours.device("early", HOUR, DAY),
            "revoked": ours.device("revoked"),
            "wrong key usage": ours.device("server-only", usage=ExtendedKeyUsageOID.SERVER_AUTH),
            "wrong client id": ours.device("liar"),
            "right": ours.device("dev-1"),
        }
        ours.revoke(self.credentials["revoked"])

    def ask(self, credential: str, tls: str, request: str, version: int) -> Outcome:
        """One cell of the matrix."""
        certificate = self.credentials[credential]
        device = certificate.stem if certificate is not None else "nobody"
        client_id = "somebody-else" if credential == "wrong client id" else device
        plain = socket.create_connection(("127.0.0.1", self.gateway.tls_port), timeout=10)
        peer = f"peer=127.0.0.1:{plain.getsockname()[1]}"
        will = (OTHERS, b"will") if request == "will denied" else None
        answers = []
        with suppress(ConnectionError, ssl.SSLError):
            context = self._context(certificate, tls)
            with Wire(0, client_id, version=version, will=will, tls=context, plain=plain) as wire:
                wire.send(_request(request, device, version))
                answers = list(_answers(wire, 1 if will else 2))
        plain.close()
        wait_until(lambda: f"{peer} " in self.gateway.log() or f"{peer}:" in self.gateway.log(), f"a word of {peer}")
        return Outcome(answers, [line for line in self.gateway.log().splitlines() if peer in line])

    def _context(self, certificate: Path | None, tls: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.gateway.authority.pem))
        context.minimum_version = context.maximum_version = TLS[tls]
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context


def _request(request: str, device: str, version: int) -> bytes:
    topic = MINE.format(device) if request.endswith("allowed") else OTHERS
    if request.startswith("publish"):
        return publish(topic, request.encode(), version=version)
    return subscribe(topic, version=version) if request.startswith("subscribe") else b""


def _answers(wire: Wire, count: int) -> Iterator[tuple[int, int]]:
    """Up to `count` of them; none where the connection ends before."""
    with suppress(ConnectionError, ssl.SSLError):
        for _ in range(count):
            kind, body = wire.receive()
            at = {CONNACK: 1, PUBACK: 2, SUBACK: len(body) - 1}.get(kind, 0)
            yield kind, body[at] if len(body) > at else 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    gateway = Gateway(tmp_path_factory.mktemp("matrix"))
    crl = gateway.authority.revoke()
    text = gateway.config.read_text()
    gateway.config.write_text(text.replace("client_ca =", f'crl = "{crl}", min_version = "1.2", client_ca ='))
    made = Site(gateway)
    gateway.start()
    yield made
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log(), gateway.log()


@pytest.mark.parametrize("tls", TLS)
@pytest.mark.parametrize("credential", UNTRUSTED)
def test_who_is_not_trusted_gets_no_word_of_mqtt_whatever_he_asks(site: Site, credential: str, tls: str) -> None:
    for request in REQUESTS:
        answers, lines = site.ask(credential, tls, request, 5)
        assert answers == []
        assert len(lines) == 1
        assert " warning " in lines[0]
        assert "refused peer=" in lines[0]
        assert UNTRUSTED[credential] in lines[0]


@pytest.mark.parametrize(("version", "reason"), [(5, 0x85), (4, 2)])
@pytest.mark.parametrize("tls", TLS)
def test_who_says_he_is_somebody_else_is_told_no_whatever_he_asks(
    site: Site, tls: str, version: int, reason: int
) -> None:
    for request in REQUESTS:
        answers, lines = site.ask("wrong client id", tls, request, version)
        assert answers == [(CONNACK, reason)]
        assert len(lines) == 1
        assert "refused device=liar peer=" in lines[0]
        assert "its client id 'somebody-else' is not its certificate's 'liar'" in lines[0]


ALLOWED_LINE = "connected device=dev-1 peer="
RIGHT = {
    ("publish allowed", 5): ([(CONNACK, 0), (PUBACK, 0)], ALLOWED_LINE),
    ("publish allowed", 4): ([(CONNACK, 0), (PUBACK, 0)], ALLOWED_LINE),
    ("publish denied", 5): ([(CONNACK, 0), (PUBACK, 0x87)], f"topic={OTHERS}: not allowed to publish there (no rule"),
    ("publish denied", 4): ([(CONNACK, 0)], f"topic={OTHERS}: not allowed to publish there (no rule"),
    ("subscribe allowed", 5): ([(CONNACK, 0), (SUBACK, 0)], ALLOWED_LINE),
    ("subscribe allowed", 4): ([(CONNACK, 0), (SUBACK, 0)], ALLOWED_LINE),
    ("subscribe denied", 5): ([(CONNACK, 0), (SUBACK, 0x87)], f"not allowed to subscribe to {OTHERS} (no rule"),
    ("subscribe denied", 4): ([(CONNACK, 0), (SUBACK, 0x80)], f"not allowed to subscribe to {OTHERS} (no rule"),
    ("will denied", 5): ([(CONNACK, 0x87)], f"its will may not be published on {OTHERS} (no rule"),
    ("will denied", 4): ([(CONNACK, 5)], f"its will may not be published on {OTHERS} (no rule"),
}


@pytest.mark.parametrize("tls", TLS)
def test_who_is_right_is_told_what_he_may(site: Site, tls: str) -> None:
    for request, version in itertools.product(REQUESTS, (5, 4)):
        answers, lines = site.ask("right", tls, request, version)
        expected, said = RIGHT[request, version]
        assert answers == expected, (request, version)
        assert any(said in line for line in lines), (request, version, lines)


def test_only_what_was_allowed_was_taken_in(site: Site) -> None:
    """The last of them: it looks at what all the others left."""
    assert {(device, payload) for device, payload in site.gateway.messages()} <= {("dev-1", b"publish allowed")}
    assert site.gateway.messages()
