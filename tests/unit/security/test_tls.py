"""The listener's TLS over a real socket pair: who gets in, who does not, and what the log will say."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from bridge.security import tls
from bridge.security.claimed_name import ClaimingContext, claimed_name
from bridge.security.identity import device_from_certificate
from bridge.security.pki import Authority, Validity
from bridge.security.tls_words import explain


def client_context(site, device: Path | None, ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca or site.ours.directory / "ca.pem"))
    if device is not None:
        context.load_cert_chain(device)
    return context


def talk(context: ssl.SSLContext, host: str = "localhost") -> Callable[[socket.socket], None]:
    """Return a client that shakes hands, says hello and reads until the end."""

    def client(end: socket.socket) -> None:
        try:
            with context.wrap_socket(end, server_hostname=host) as encrypted:
                encrypted.sendall(b"hello")
                encrypted.recv(1)
        except OSError:
            end.close()

    return client


def say(content: bytes) -> Callable[[socket.socket], None]:
    """Return a client that sends bytes that are no TLS, or not all of it, and hangs up."""

    def client(end: socket.socket) -> None:
        end.sendall(content)
        end.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            end.recv(4096)

    return client


def accept(context: ssl.SSLContext, client: Callable[[socket.socket], None]) -> tuple[str, str, bytes]:
    """Shake hands with `client`; return the device, the TLS version and what it said."""
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    thread = threading.Thread(target=client, args=(theirs,))
    thread.start()
    try:
        with ours, context.wrap_socket(ours, server_side=True) as encrypted:
            device = device_from_certificate(encrypted.getpeercert(binary_form=True))
            return device, encrypted.version() or "", encrypted.recv(5)
    finally:
        ours.close()
        thread.join(5)
        theirs.close()


def refusal(context: ssl.SSLContext, client: Callable[[socket.socket], None]) -> str:
    try:
        device, _, _ = accept(context, client)
    except OSError as error:
        return explain(error)
    raise AssertionError(f"{device} got in")


def test_a_device_of_our_ca_gets_in_by_tls_1_3(site):
    [device] = site.ours.issue(["dev-1"], site.devices)
    said = accept(tls.server_context(site.tls()), talk(client_context(site, device)))
    assert said == ("dev-1", "TLSv1.3", b"hello")


def test_tls_1_2_only_where_asked_for(site):
    [device] = site.ours.issue(["dev-1"], site.devices)
    old = client_context(site, device)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert accept(tls.server_context(site.tls(min_version="1.2")), talk(old))[1] == "TLSv1.2"
    assert refusal(tls.server_context(site.tls()), talk(old)) == "its TLS version is older than this listener takes"


def test_no_certificate(site):
    assert refusal(tls.server_context(site.tls()), talk(client_context(site, None))) == "it presented no certificate"


def test_no_certificate_by_tls_1_2(site):
    old = client_context(site, None)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert refusal(tls.server_context(site.tls(min_version="1.2")), talk(old)) == "it presented no certificate"


@pytest.mark.parametrize("settings", [{}, {"crl": None}])
def test_a_certificate_of_another_ca(site, settings):
    [device] = site.theirs.issue(["dev-1"], site.devices)
    said = refusal(tls.server_context(site.tls(**settings)), talk(client_context(site, device)))
    assert said == "its certificate is from a CA that is not ours; it says it is 'dev-1'"


def test_a_certificate_of_a_ca_that_only_has_our_name(site, tmp_path):
    from bridge.security.ca_directory import CaDirectory

    [device] = CaDirectory.create(tmp_path / "copycat", "our CA").issue(["dev-1"], site.devices)
    assert (
        refusal(tls.server_context(site.tls()), talk(client_context(site, device)))
        == "its certificate is from a CA that is not ours; it says it is 'dev-1'"
    )


def test_an_expired_certificate(site):
    past = Validity(datetime.now(UTC) - timedelta(days=3), datetime.now(UTC) - timedelta(days=1))
    [device] = site.ours.issue(["dev-1"], site.devices, past)
    said = refusal(tls.server_context(site.tls()), talk(client_context(site, device)))
    assert said == "its certificate has expired (or this gateway's clock is ahead); it says it is 'dev-1'"


def test_a_certificate_of_tomorrow(site):
    future = Validity(datetime.now(UTC) + timedelta(days=1), datetime.now(UTC) + timedelta(days=3))
    [device] = site.ours.issue(["dev-1"], site.devices, future)
    said = refusal(tls.server_context(site.tls()), talk(client_context(site, device)))
    assert said == "its certificate is not valid yet (or this gateway's clock is behind); it says it is 'dev-1'"


def test_the_refused_is_named_by_tls_1_2_too(site):
    [device] = site.theirs.issue(["dev-1"], site.devices)
    old = client_context(site, device)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    said = refusal(tls.server_context(site.tls(min_version="1.2")), talk(old))
    assert said == "its certificate is from a CA that is not ours; it says it is 'dev-1'"


def test_a_connection_leaves_the_watch_behind_with_its_handshake(site):
    [device] = site.ours.issue(["dev-1"], site.devices)
    context = tls.server_context(site.tls())
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=talk(client_context(site, device)), args=(theirs,))
    thread.start()
    with ours, context.wrap_socket(ours, server_side=True) as encrypted:
        assert encrypted.context is not context
        assert not isinstance(encrypted.context, ClaimingContext)
        assert encrypted.context.verify_mode == ssl.CERT_REQUIRED
        assert vars(encrypted).get("certificate_message") is None
        assert encrypted.recv(5) == b"hello"
    thread.join(5)


@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda junk: b"\x0b\0\0\x10\0\0\0\x09\0\0\x06" + junk))
def test_any_certificate_message_yields_no_name_or_a_short_one(message):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        name = claimed_name(version, message)
        assert name is None or len(name) <= 140


def test_a_subject_that_is_no_device_id_is_shown_quoted():
    evil = Authority.create("dev\n2026 ERROR all is lost").credential.certificate.public_bytes(Encoding.DER)
    size = len(evil).to_bytes(3, "big")
    name = claimed_name(ssl.TLSVersion.TLSv1_3, b"\x0b\0\0\0\0" + size + size + evil)
    error = ssl.SSLCertVerificationError(1, "refused")
    error.verify_code = 10
    error.add_note(name or "")
    assert "\n" not in explain(error)
    assert "all is lost" in explain(error)


def test_a_revoked_certificate_and_only_that(site):
    revoked, other = site.ours.issue(["gone", "here"], site.devices)
    serial = int(site.ours.issued()[1].serial, 16)
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(datetime.now(UTC)).build()
    (site.ours.directory / "crl.pem").write_bytes(site.ours.authority.crl([entry], number=2))
    context = tls.server_context(site.tls())
    assert (
        refusal(context, talk(client_context(site, revoked)))
        == "its certificate has been revoked; it says it is 'gone'"
    )
    assert accept(context, talk(client_context(site, other)))[0] == "here"


def test_the_server_certificate_is_no_device(site, tmp_path):
    directory, bundle = site.ours.directory, tmp_path / "server-as-device.pem"
    bundle.write_bytes((directory / "server.pem").read_bytes() + (directory / "server.key").read_bytes())
    said = refusal(tls.server_context(site.tls()), talk(client_context(site, bundle)))
    assert said == "its certificate is not for clients (extended key usage); it says it is 'busbridge'"


def test_a_device_that_does_not_trust_us(site):
    [device] = site.ours.issue(["dev-1"], site.devices)
    stranger = client_context(site, device, ca=site.theirs.directory / "ca.pem")
    assert refusal(tls.server_context(site.tls()), talk(stranger)) == "it does not trust our server certificate's CA"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "a truncated hello"),
        (b"", "a truncated hello"),
        (b"GET / HTTP/1.1\r\n\r\n", "it spoke HTTP, not TLS"),
        (b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", "it spoke something other than TLS"),
    ],
)
def test_what_is_no_handshake(site, content, words):
    assert words in refusal(tls.server_context(site.tls()), say(content))


def test_silence_is_a_timeout(site):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.05)
        with pytest.raises(TimeoutError) as caught:
            tls.server_context(site.tls()).wrap_socket(ours, server_side=True)
    assert explain(caught.value) == "it did not finish the TLS handshake in time"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionResetError(104, "reset"), "it hung up"),
        (ssl.SSLError(1, "strange"), "strange"),
        (ValueError("odd"), "ValueError: odd"),
    ],
)
def test_anything_else_still_says_something(error, words):
    assert words in explain(error)


def test_no_session_is_ever_resumed(site):
    """Else a revoked device could come back without its certificate being looked at."""
    [device] = site.ours.issue(["dev-1"], site.devices)
    context, client = tls.server_context(site.tls()), client_context(site, device)
    sessions: list[bool] = []

    def remember(end: socket.socket) -> None:
        with client.wrap_socket(end, server_hostname="localhost") as encrypted:
            encrypted.sendall(b"hello")
            encrypted.recv(1)
            sessions.append(encrypted.session is not None and encrypted.session.has_ticket)

    accept(context, remember)
    assert sessions == [False]


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [(["mqtt"], "mqtt"), (["h2", "mqtt"], "mqtt"), (["x-amzn-mqtt-ca"], None), ([], None)],
)
def test_alpn_is_answered_where_it_fits_and_never_needed(site, offered: list[str], agreed: str | None):
    [device] = site.ours.issue(["dev-1"], site.devices)
    client, answers = client_context(site, device), []
    if offered:
        client.set_alpn_protocols(offered)

    def ask(end: socket.socket) -> None:
        with client.wrap_socket(end, server_hostname="localhost") as encrypted:
            encrypted.sendall(b"hello")
            encrypted.recv(1)
            answers.append(encrypted.selected_alpn_protocol())

    assert accept(tls.server_context(site.tls()), ask)[0] == "dev-1"
    assert answers == [agreed]


@pytest.mark.parametrize("name", ["localhost", "another.example", None])
def test_a_server_name_is_not_looked_at(site, name: str | None):
    [device] = site.ours.issue(["dev-1"], site.devices)
    client = client_context(site, device)
    client.check_hostname = False
    assert accept(tls.server_context(site.tls()), talk(client, name))[0] == "dev-1"


def test_nobody_renegotiates(site):
    [device] = site.ours.issue(["dev-1"], site.devices)
    listener = socket.create_server(("127.0.0.1", 0))
    ca = site.ours.directory / "ca.pem"
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{listener.getsockname()[1]}", "-tls1_2"]
    command += ["-CAfile", str(ca), "-cert", str(device), "-key", str(device)]
    with (
        listener,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process,
    ):
        connection, _ = listener.accept()
        connection.settimeout(10)
        with tls.server_context(site.tls(min_version="1.2")).wrap_socket(connection, server_side=True) as encrypted:
            process.stdin.write(b"hello\n")
            process.stdin.flush()
            assert encrypted.recv(6) == b"hello\n"
            process.stdin.write(b"R\n")  # to s_client: renegotiate
            process.stdin.flush()
            with suppress(OSError):
                assert encrypted.recv(6) == b"", "it goes on as if it had renegotiated"
        said, _ = process.communicate(timeout=10)
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said


def test_missing_and_mixed_up_files_are_errors(site):
    with pytest.raises(FileNotFoundError):
        tls.server_context(site.tls(certificate=site.devices / "none.pem"))
    with pytest.raises(ssl.SSLError):
        tls.server_context(site.tls(private_key=site.theirs.directory / "server.key"))


def test_openssl_s_client_gets_in_too(site):
    [device] = site.ours.issue(["dev-1"], site.devices)
    listener = socket.create_server(("127.0.0.1", 0))
    ca = site.ours.directory / "ca.pem"
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{listener.getsockname()[1]}", "-quiet", "-verify_ip"]
    command += ["127.0.0.1", "-verify_return_error", "-CAfile", str(ca), "-cert", str(device), "-key", str(device)]
    with listener, subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        connection, _ = listener.accept()
        connection.settimeout(5)
        with tls.server_context(site.tls()).wrap_socket(connection, server_side=True) as encrypted:
            process.stdin.write(b"hello\n")
            process.stdin.flush()
            assert encrypted.recv(5) == b"hello"
        process.terminate()
