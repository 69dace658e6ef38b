"""The devices' pages of a real daemon, asked by curl: who may, what is there, those who ask wrongly, or never read."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.conftest import NewGateway
from tests.interop.gateway import CHECKOUT, NO_SINK, Gateway, wait_until
from tests.interop.paho_device import V311, Device
from tests.support.curl import Answer, curl
from tests.support.ports import free_port

TOKEN, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
ADMIN = '[admin]\nbind = "127.0.0.1:{port}"\ntoken_file = "{directory}/token"\nkeepalive = "2 s"\nwatchers = 1\n'
DOWNLINK = '[downlink]\ndesired_topic = "desired"\ncommand_topic = "commands"\nmax_bytes = "16 MiB"\n'
DEVICES = 7


class Site:
    """A gateway with an admin port, and how it is asked."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.gateway = gateway
        self.address = ("127.0.0.1", port)
        self.socket = gateway.directory / "data" / "admin.sock"

    def ask(self, path: str, *words: str, body: bytes | None = None, token: str | None = TOKEN) -> Answer:
        """Over TCP."""
        return curl(f"http://127.0.0.1:{self.address[1]}{path}", *words, token=token, body=body)

    def names(self, path: str) -> list[str]:
        """Of the devices in one answer."""
        return [each["device"] for each in self.ask(path).body["devices"]]


@contextlib.contextmanager
def started(directory: Path) -> Iterator[Site]:
    """Seven devices that have reported something, two of them there; no Kafka."""
    port, token = free_port(), directory / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    admin = ADMIN.replace("{port}", str(port)).replace("{directory}", str(directory))
    site = Site(Gateway(directory, admin, sink=NO_SINK + DOWNLINK).start(), port)
    with contextlib.ExitStack() as stack:
        stack.callback(site.gateway.kill)
        for number in range(DEVICES):
            device = Device(site.gateway.port, f"dev-{number}", V311)
            with device if number >= 2 else contextlib.nullcontext(stack.enter_context(device)):
                assert device.publish(f"devices/dev-{number}/state/reported", b'{"n": %d}' % number, 1) == 0
        wait_until(lambda: len(site.names("/devices?offline")) == DEVICES - 2, "the others are gone")
        yield site
    assert "Traceback" not in site.gateway.log(), site.gateway.log()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """One that the test may change."""
    with started(tmp_path) as site:
        yield site


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One that is only asked."""
    with started(tmp_path_factory.mktemp("shared")) as site:
        yield site


def test_who_may_ask(site: Site, tmp_path: Path) -> None:
    without, wrong = site.ask("/devices", token=None), site.ask("/devices", token=OTHER)
    assert (without.status, without.challenge) == (401, 'Bearer realm="busbridge"')
    assert (wrong.status, wrong.challenge) == (401, 'Bearer realm="busbridge", error="invalid_token"')
    assert site.ask("/devices", "--header", f"Authorization: Basic {TOKEN}", token=None).status == 401
    assert site.ask("/devices/dev-1/commands", token=None, body=b"{}").status == 401
    assert site.ask("/devices").status == 200
    assert curl("http://gateway/devices", socket=site.socket).status == 200, "its file lets in whom it lets in"
    assert site.ask("/status", token=None).status == 200
    (tmp_path / "token").write_text(OTHER)
    assert (site.ask("/devices").status, site.ask("/devices", token=OTHER).status) == (401, 200)
    (tmp_path / "token").chmod(0o644)
    assert site.ask("/devices", token=OTHER).status == 401, "everybody could have read it"
    (tmp_path / "token").unlink()
    assert (site.ask("/devices", token=OTHER).status, site.ask("/devices", token="").status) == (401, 401)


@pytest.mark.parametrize(
    ("mode", "text"), [(0o644, TOKEN), (0o600, "short"), (0o600, "")], ids=["public", "short", "empty"]
)
def test_a_token_that_is_none_is_said_at_the_start(
    new_gateway: NewGateway, tmp_path: Path, mode: int, text: str
) -> None:
    (tmp_path / "token").write_text(text)
    (tmp_path / "token").chmod(mode)
    gateway = new_gateway(f'[admin]\ntoken_file = "{tmp_path}/token"\n')
    gateway.launch()
    wait_until(lambda: not gateway.running, "it does not start")
    assert "cannot start: admin.token_file: the " in gateway.log() or "is a secret that every user" in gateway.log()
    assert TOKEN not in gateway.log()


def test_without_a_token_only_the_local_socket_tells_of_devices(new_gateway: NewGateway) -> None:
    port = free_port()
    gateway = new_gateway(f'[admin]\nbind = "127.0.0.1:{port}"\n').start()
    refused = curl(f"http://127.0.0.1:{port}/devices", token=TOKEN)
    assert (refused.status, "there is no admin.token_file" in refused.body["error"]) == (403, True)
    assert curl("http://gateway/devices", socket=gateway.directory / "data" / "admin.sock").status == 200


def test_what_is_there(shared: Site) -> None:
    assert shared.names("/devices") == [f"dev-{number}" for number in range(DEVICES)]
    assert shared.names("/devices?online=true") == ["dev-0", "dev-1"]
    assert shared.names("/devices?offline&device=dev-[34]&device=x*") == ["dev-3", "dev-4"]
    assert shared.names("/devices?gateway=gw-other") == shared.names("/devices?label=site=north") == []
    assert shared.names("/devices?pending") == shared.names("/devices?unknown") == []
    found, after = [], ""
    while after is not None:
        page = shared.ask(f"/devices?limit=3&after={after}").body
        found.append([each["device"] for each in page["devices"]])
        after = page["next"]
    assert found == [["dev-0", "dev-1", "dev-2"], ["dev-3", "dev-4", "dev-5"], ["dev-6"]]
    one = shared.ask("/devices/dev-1")
    assert (one.status, one.etag, one.body["reported"]["state"]) == (200, '"0"', {"n": 1})
    assert one.body["believed"] == {
        "state": "online", "since": one.body["presence"]["since"], "why": "this gateway holds its connection",
    }  # fmt: skip
    assert "ground" not in one.body
    assert shared.ask("/devices/dev%2F1").status == shared.ask("/devices/nobody").status == 404


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "online=perhaps", "after=a&after=b", "nonsense", "label=x", "device=%ff"],
)
def test_a_query_that_nobody_understands_is_said_to_be_one(shared: Site, query: str) -> None:
    answer = shared.ask(f"/devices?{query}")
    assert (answer.status, bool(answer.body["error"])) == (400, True)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/devices/dev-1/desired", b"", 400),
        ("PUT", "/devices/dev-1/desired", b"{", 400),
        ("PUT", "/devices/dev-1/desired", b"[1]", 400),
        ("PUT", "/devices/dev-1/desired", b'{"a": 1}', 400),
        ("PUT", "/devices/dev-1/desired", b'{"state": {}, "version": "x"}', 400),
        ("PUT", "/devices/dev-1/desired", b'{"state": ' + b'{"a":' * 80 + b"1" + b"}" * 81, 400),
        ("PUT", "/devices/dev-1/desired", b"[" * 100_000, 400),
        ("PUT", "/devices/dev-1/desired", b'{"state": {"a": "' + b"x" * 300_000 + b'"}}', 413),
        ("PUT", "/devices/a%2Fb/desired", b'{"state": {}}', 400),
        ("PUT", "/devices//desired", b'{"state": {}}', 400),
        ("PUT", "/devices/dev-1/desired?wait=61", b'{"state": {}}', 400),
        ("PUT", "/devices/dev-1/desired", b'{"state": {}}', 503),
        ("PATCH", "/devices/dev-1/desired", b"7", 400),
        ("DELETE", "/devices/dev-1/desired", None, 503),
        ("POST", "/devices/dev-1/desired", b"{}", 405),
        ("POST", "/devices/dev-1/commands", b"{}", 400),
        ("POST", "/devices/dev-1/commands", b"nonsense", 400),
        ("POST", "/devices/dev-1/commands", b'{"name": "reboot", "deadline": "soon"}', 400),
        ("POST", "/devices/dev-1/commands", b'{"name": "reboot", "id": "a/b"}', 400),
        ("POST", "/devices/nobody/commands", b'{"name": "reboot"}', 404),
        ("POST", "/devices/dev-1/commands", b'{"name": "reboot"}', 503),
    ],
    ids=[f"case-{number}" for number in range(21)],
)  # fmt: skip
def test_who_wants_what_cannot_be_is_told(
    shared: Site, method: str, path: str, body: bytes | None, status: int
) -> None:
    answer = shared.ask(path, "--request", method, body=body)
    assert answer.status == status, answer
    if status in (400, 404, 503):
        assert answer.body["error"]
    if status == 503:
        assert "there is no way to Kafka now" in answer.body["error"]
    kinds = {record.kind for record in shared.gateway.records("state")}
    assert 13 not in kinds, "nothing of it is on its way"


def test_a_version_that_is_not_the_present_one(shared: Site) -> None:
    def put(*words: str, body: bytes = b'{"state": {}}') -> Answer:
        return shared.ask("/devices/dev-1/desired", "--request", "PUT", *words, body=body)

    assert put("--header", 'If-Match: "4"').status == 412
    assert put("--header", "If-Match: nonsense").status == 400
    assert put("--header", 'If-Match: "0"').status == 503
    assert put(body=b'{"state": {}, "version": 0}').status == 409


class Stream:
    """A connection that watches, and reads when it is asked to."""

    def __init__(self, site: Site, query: str = "", receive_bytes: int = 0) -> None:
        self.sock = socket.socket()
        if receive_bytes:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.sock.settimeout(20)
        self.sock.connect(site.address)
        words = f"GET /devices?watch{query} HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        self.sock.sendall(words.encode())
        self.file = self.sock.makefile("rb")

    def status(self) -> int:
        head = self.file.readline()
        while self.file.readline().strip():
            pass
        return int(head.split()[1])

    def next(self) -> tuple[str, str]:
        while not (line := self.file.readline()).strip():
            assert line, "it has hung up"
        said = json.loads(line)
        return said["device"], "removed" if said.get("removed") else said["believed"]["state"]

    def close(self) -> None:
        self.file.close()
        self.sock.close()


def test_every_change_as_it_happens(site: Site) -> None:
    stream = Stream(site, "&online")
    assert stream.status() == 200
    assert {stream.next(), stream.next()} == {("dev-0", "online"), ("dev-1", "online")}
    with Device(site.gateway.port, "dev-5", V311) as device:
        assert stream.next() == ("dev-5", "online")
        device.publish("devices/dev-5/state/reported", b'{"n": 55}', 1)
        assert stream.next() == ("dev-5", "online")
        second = Stream(site)
        assert second.status() == 503, "one at a time (admin.watchers)"
        second.close()
    assert stream.next() == ("dev-5", "offline"), "and then not again"
    time.sleep(2.5)  # longer than admin.keepalive, for it is alive
    with Device(site.gateway.port, "dev-9", V311):
        assert stream.next() == ("dev-9", "online")
    stream.close()

    def there_is_room_again() -> bool:
        again = Stream(site)
        status = again.status()
        again.close()
        return status == 200

    wait_until(there_is_room_again, "who is gone watches no more")


def test_who_never_reads_is_hung_up_on_and_nobody_waits_for_him(site: Site) -> None:
    slow = Stream(site, receive_bytes=4096)
    before = site.gateway.memory()
    with Device(site.gateway.port, "dev-8", V311) as device:
        for number in range(100):  # of 100 kB each, far more than all buffers on the way hold
            body = json.dumps({"n": number, "ballast": "x" * 100_000}).encode()
            assert device.publish("devices/dev-8/state/reported", body, 1) == 0
            assert site.ask("/devices/dev-8").status == 200
    wait_until(lambda: _has_room(site), "he watches no more")
    assert site.gateway.memory() - before < 64 << 20
    with contextlib.suppress(ConnectionError):
        while slow.sock.recv(1 << 16):
            pass
    slow.close()


def _has_room(site: Site) -> bool:
    words = ["curl", "--silent", "--max-time", "1", "--output", "/dev/null", "--write-out", "%{http_code}"]
    url = f"http://127.0.0.1:{site.address[1]}/devices"
    headers = ["--header", f"Authorization: Bearer {TOKEN}", "--header", "Accept: application/x-ndjson"]
    return subprocess.run([*words, *headers, url], capture_output=True, check=False).stdout == b"200"


def test_all_of_them_in_lines(shared: Site) -> None:
    answer = shared.ask("/devices", "--header", "Accept: application/x-ndjson")
    lines = [json.loads(line) for line in answer.body.splitlines() if line]
    assert sorted(each["device"] for each in lines) == [f"dev-{number}" for number in range(DEVICES)]


def devices(site: Site, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`busbridge devices … --local`."""
    command = [sys.executable, "-m", "bridge", "devices", *words, "--local", "--config", str(site.gateway.config)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    return done


def test_the_commands_ask_the_daemon_too(shared: Site, tmp_path: Path) -> None:
    lines = devices(shared, "list").stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["dev-0", "online"], ["dev-1", "online"], ["dev-2", "offline"]]
    assert devices(shared, "list", "dev-[56]", "--offline").stderr.startswith("2 devices: 2 offline")
    assert json.loads(devices(shared, "show", "dev-1", "--json").stdout)["reported"]["state"] == {"n": 1}
    assert "has no document of 'dev-[1]'" in devices(shared, "show", "dev-[1]", code=1).stderr
    assert "there is no way to Kafka now" in devices(shared, "set", "dev-1", "{}", code=1).stderr
    assert "there is no way to Kafka now" in devices(shared, "send", "dev-1", "reboot", code=1).stderr
    assert (
        "the present version is none, not 4"
        in devices(shared, "set", "dev-1", "--remove", "--if-version", "4", code=1).stderr
    )
    assert "--local" in devices(shared, "list", "--kafka", "kafka:9092", code=2).stderr
    elsewhere = [sys.executable, "-m", "bridge", "devices", "list", "--local", "--data-dir", str(tmp_path)]
    done = subprocess.run(elsewhere, capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=60)
    assert (done.returncode, "no daemon is running" in done.stderr) == (1, True), done.stderr


def test_the_daemon_s_devices_watched_over_its_restart(site: Site) -> None:
    command = [sys.executable, "-m", "bridge", "devices", "list", "dev-[01]", "--watch", "--local"]
    process = subprocess.Popen(
        [*command, "--config", str(site.gateway.config)], cwd=CHECKOUT, text=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    said = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert {(each["device"], each["believed"]["state"]) for each in said} == {("dev-0", "online"), ("dev-1", "online")}
    site.gateway.kill()
    site.gateway.start()
    said = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert {(each["device"], each["presence"]["reason"]) for each in said} == {
        ("dev-0", "gateway-stopped"), ("dev-1", "gateway-stopped"),
    }  # fmt: skip
    process.send_signal(signal.SIGINT)
    process.stdout.close()
    assert process.wait(20) == 0
