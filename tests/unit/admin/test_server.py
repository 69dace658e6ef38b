"""The admin side's two ports, spoken to over sockets: what is there, and what becomes of those who ask otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import h11
import pytest

from bridge.admin.local_socket import SOCKET, reachable
from bridge.admin.server import AdminServer, CannotServe
from bridge.config import Admin
from tests.unit.admin.test_health import WELL, changed

ANY_PORT = Admin(bind="127.0.0.1:0", request_bytes=1000)


@contextlib.asynccontextmanager
async def serving(directory: Path, settings: Admin = ANY_PORT, **changes: object) -> AsyncIterator[AdminServer]:
    server = AdminServer(settings, directory, lambda: changed(**changes))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def say(server: AdminServer, request: bytes) -> bytes:
    """All that comes back until the server has nothing more to say."""
    host, port = server.addresses[0].rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    with contextlib.closing(writer), contextlib.suppress(ConnectionResetError):
        return await asyncio.wait_for(reader.read(), 20)
    return b""


async def ask(
    server: AdminServer, line: str, headers: str = "", body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    text = f"{line} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n{headers}\r\n"
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=line.split()[0], target="/", headers=[("Host", "gateway")]))
    client.send(h11.EndOfMessage())
    client.receive_data(await say(server, text.encode() + body))
    client.receive_data(b"")
    response, said = client.next_event(), b""
    assert isinstance(response, h11.Response)
    while isinstance(event := client.next_event(), h11.Data):
        said += event.data
    return response.status_code, {name.decode(): value.decode() for name, value in response.headers}, said


async def test_every_page_is_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert (await ask(server, "GET /health/live"))[::2] == (200, b'{"live": true}')
        assert (await ask(server, "GET /health/ready"))[0] == 200
        status, headers, body = await ask(server, "GET /status?pretty=1")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert WELL.gateway.encode() in body
        status, headers, body = await ask(server, "GET /metrics")
        assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
        assert b"busbridge_ready 1.0" in body


async def test_not_ready_is_a_status_code(tmp_path: Path) -> None:
    async with serving(tmp_path, stopping=True) as server:
        status, _, body = await ask(server, "GET /health/ready")
    assert status == 503
    assert b"the gateway is stopping" in body


async def test_head_says_how_much_there_would_be(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        status, headers, body = await ask(server, "HEAD /health/live")
    assert (status, headers["content-length"], body) == (200, "14", b"")


@pytest.mark.parametrize(
    ("line", "headers", "body", "status"),
    [
        ("GET /", "", b"", 404),
        ("POST /nowhere", "", b"", 404),
        ("POST /status", "Content-Length: 2\r\n", b"{}", 405),
        ("GET /status", "Content-Length: 1001\r\n", b"x" * 1001, 413),
        ("GET /status", f"Cookie: {'x' * 60_000}\r\n", b"", 431),
        ("GET /status", "Host: another\r\n", b"", 400),
        ("GET /status", "Content-Length: 1\r\nContent-Length: 2\r\n", b"", 400),
    ],
)
async def test_who_asks_wrongly_is_told(tmp_path: Path, line: str, headers: str, body: bytes, status: int) -> None:
    async with serving(tmp_path) as server:
        found, said, _ = await ask(server, line, headers, body)
        assert found == status
        assert said.get("allow") == ("GET, HEAD" if status == 405 else None)
        assert (await ask(server, "GET /health/live"))[0] == 200  # and the others are served


async def test_no_http_at_all_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert (await say(server, b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\r\n\r\n")).startswith(b"HTTP/1.1 400")


async def test_a_body_is_asked_for_where_its_sender_waits(tmp_path: Path) -> None:
    headers = "Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n{}"
    async with serving(tmp_path) as server:
        said = await say(server, f"GET /health/live HTTP/1.1\r\nHost: gateway\r\n{headers}".encode())
    assert b"HTTP/1.1 200" in said


async def test_several_requests_over_one_connection(tmp_path: Path) -> None:
    one = b"GET /health/live HTTP/1.1\r\nHost: gateway\r\n"
    async with serving(tmp_path) as server:
        said = await say(server, (one + b"\r\n") * 3 + one + b"Connection: close\r\n\r\n")
    assert said.count(b"HTTP/1.1 200") == said.count(b'{"live": true}') == 4


async def test_who_says_nothing_is_hung_up_on(tmp_path: Path) -> None:
    async with serving(tmp_path, Admin(bind="127.0.0.1:0", keepalive=0.1)) as server:
        assert await say(server, b"") == b""
        assert await say(server, b"GET /health/live HTTP/1.1\r\n") == b""


async def test_the_socket_is_its_owners_and_goes_with_the_server(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    (deep / SOCKET).touch()  # what a killed daemon left
    async with serving(deep, Admin()) as server:
        assert server.addresses == ()
        assert stat.S_IMODE((deep / SOCKET).stat().st_mode) == 0o600
        with reachable(deep) as path:
            reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: daemon\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert not (deep / SOCKET).exists()
    assert (await reader.read()).endswith(b'{"live": true}')  # and then its end: a stop does not wait for readers
    writer.close()


async def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CannotServe, match=f"cannot listen on {address}: .*in use"):
            await AdminServer(Admin(bind=address), tmp_path, lambda: WELL).start()
    assert not (tmp_path / SOCKET).exists()


async def test_one_connection_more_than_may_be_is_hung_up_on_but_for_the_local_socket(tmp_path: Path) -> None:
    settings = Admin(bind="127.0.0.1:0", connections=2)
    async with serving(tmp_path, settings) as server, contextlib.AsyncExitStack() as stack:
        host, port = server.addresses[0].rsplit(":", 1)
        for _ in range(2):
            reader, writer = await asyncio.open_connection(host, int(port))
            stack.callback(writer.close)
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: gateway\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert await say(server, b"GET /health/live HTTP/1.1\r\nHost: gateway\r\n\r\n") == b""
        with reachable(tmp_path) as path:
            reader, local = await asyncio.open_unix_connection(path)
        stack.callback(local.close)
        local.write(b"GET /health/live HTTP/1.1\r\nHost: daemon\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        while not (await say(server, b"GET /health/live HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200"):
            pass  # until it has heard that one has gone
