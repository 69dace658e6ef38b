"""`busbridge queue` on a real daemon's queue: while it runs, after it was killed, and while Kafka is away."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.support.daemon import Gateway, Service
from tests.support.ports import free_port


def queue(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bridge", "queue", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr
    return done


def publish(gateway: Gateway) -> None:
    certificate = gateway.devices / "dev-1.pem"
    where = ["-h", "127.0.0.1", "-p", str(gateway.port), "--cafile", str(gateway.ca)]
    identity = ["--cert", str(certificate), "--key", str(certificate), "-i", "dev-1"]
    what = ["-q", "1", "-t", "devices/dev-1/telemetry/t", "-m", "21.5"]
    subprocess.run(["mosquitto_pub", *where, *identity, *what], check=True, timeout=60)


async def test_beside_a_daemon_and_after_its_end(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, ["dev-1"], kafka=f"127.0.0.1:{free_port()}")
    async with Service(gateway) as service:
        publish(gateway)
        deadline = time.monotonic() + 60
        while True:
            report = json.loads(queue("inspect", gateway.data, "--json").stdout)
            (normal,) = [lane for lane in report["lanes"] if lane["lane"] == "normal"]
            if f"the daemon (process {service.daemon.pid}) runs: away: " in normal["why"]:
                break
            assert time.monotonic() < deadline, normal["why"]
        assert (normal["waiting"], normal["damage"]) == (1, [])
        assert queue("verify", gateway.data).returncode == 0
        (line,) = queue("export", gateway.data, "--lane", "normal").stdout.splitlines()
        assert json.loads(line)["topic"] == "devices/dev-1/telemetry/t"
        counted = queue("replay", gateway.data, "--config", gateway.config, "--lane", "normal", "--dry-run", "--json")
        assert json.loads(counted.stdout)["records"] == 1
        refused = queue("adopt", gateway.data, "--config", gateway.config)
        assert refused.returncode == 1
        assert f"is in use by process {service.daemon.pid}" in refused.stderr
        assert queue("dead-letters", gateway.data).stdout == "no dead letters stay here\n"
    report = json.loads(queue("inspect", gateway.data, "--json").stdout)
    assert report["daemon"] is None
    assert queue("verify", gateway.data).returncode == 0
    unreachable = queue("adopt", gateway.data, "--config", gateway.config, "--dry-run")
    assert unreachable.returncode == 1
    assert "Connect" in unreachable.stderr or "refused" in unreachable.stderr
