"""How a running daemon says that it is doing: by its socket, by HTTP, to a person and to a script."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.daemon import Gateway, Service
from tests.support.ports import free_port


def _status(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bridge", "status", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("deep", [False, True], ids=["short-path", "path-too-long-for-a-socket"])
async def test_a_running_daemon_is_asked(tmp_path: Path, *, deep: bool) -> None:
    directory = tmp_path / ("d" * 60) / ("e" * 60) if deep else tmp_path
    directory.mkdir(parents=True, exist_ok=True)
    gateway = Gateway(directory, ["dev-1"], kafka=None)
    port = free_port()
    with gateway.config.open("a") as file:
        file.write(f'\n[admin]\nbind = "127.0.0.1:{port}"\n')
    async with Service(gateway):
        asked = _status("--config", str(gateway.config), "--json")
        assert asked.returncode == 0, asked.stderr
        told = json.loads(asked.stdout)
        assert told["verdict"] == {"ready": True, "problems": [], "concerns": []}
        assert (told["status"]["gateway"], told["status"]["epoch"]) == ("gw-test", 1)
        assert set(told["status"]["lanes"]) == {"normal", "state"}
        words = _status("--data-dir", str(gateway.data)).stdout
        assert "gateway gw-test" in words
        assert "documents: 0 devices" in words
        assert f"listens on 127.0.0.1:{gateway.port}" in words
        assert (gateway.data / "admin.sock").stat().st_mode & 0o777 == 0o600
        assert _get(port, "/health/live") == (200, '{"live": true}')
        assert _get(port, "/health/ready")[0] == 200
        assert 'busbridge_gateway_info{epoch="1",gateway="gw-test"' in _get(port, "/metrics")[1]
        assert json.loads(_get(port, "/status")[1])["status"]["pid"] == told["status"]["pid"]
        assert _get(port, "/no-such-thing")[0] == 404
    assert not (gateway.data / "admin.sock").exists()
    late = _status("--config", str(gateway.config))
    assert late.returncode == 1
    assert late.stderr.startswith(f"busbridge: no daemon is running on {gateway.data}")


async def test_who_cannot_take_anything_in_says_so(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, ["dev-1"], kafka=None)
    text = gateway.config.read_text().replace('free_space_floor = "64 MiB"', 'free_space_floor = "900 TiB"')
    gateway.config.write_text(text)
    async with Service(gateway):
        asked = _status("--config", str(gateway.config))
        while "is full" not in asked.stdout:  # what was made ahead is used up first, or given back
            asked = _status("--config", str(gateway.config))
        assert asked.returncode == 3
        assert "problem: lane normal is full, so devices wait: " in asked.stdout


def test_an_address_that_is_taken_ends_the_start_in_one_sentence(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, ["dev-1"], kafka=None)
    with gateway.config.open("a") as file:
        file.write(f'\n[admin]\nbind = "127.0.0.1:{gateway.port}"\n')
    command = [sys.executable, "-m", "bridge", "run", "--config", str(gateway.config)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert f"cannot start: the admin side cannot listen on 127.0.0.1:{gateway.port}: " in ended.stderr
    assert "Traceback" not in ended.stderr
