"""The commands as a user calls them: the demonstration, the fleet, its audit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.support.daemon import STATE, TELEMETRY, Gateway, Service

DEVICES = tuple(f"dev-{number:05d}" for number in range(1, 11))


def _python(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)


def test_the_demonstration_is_clean_and_says_so(tmp_path: Path) -> None:
    options = ("--devices", "10", "--rate", "200", "--seconds", "5", "--outage", "1", "--dir", str(tmp_path / "demo"))
    done = _python("firmware_sim.demo", *options)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    told = dict(re.findall(r"│ (\S.*?) +│ +(\S.*?) │", done.stdout))
    assert told["acknowledged"] == told["published"] == told["in Kafka"]
    assert (told["lost"], told["doubled"], told["out of order"], told["altered"]) == ("0", "0", "0", "0")
    assert {"CPU per message, device side", "CPU per message, bus side"} <= set(told)
    assert '"marker":"demo"' in done.stdout


async def test_a_fleet_by_command_and_its_audit_of_files(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, DEVICES, kafka=None)
    ledger = str(tmp_path / "fleet.ledger")
    async with Service(gateway):
        to = ("--port", str(gateway.port), "--ca", str(gateway.ca), "--certs", str(gateway.devices))
        what = ("--devices", "10", "--rate", "500", "--messages", "30", "--qos", "0,1,2")
        run = _python("firmware_sim", "run", *to, *what, "--ledger", ledger, "--json")
    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout)
    assert (figures["published"], figures["acknowledged"]) == (300, 200)
    topics = ("--topic", TELEMETRY, "--state-topic", STATE)
    options = ("--ledger", ledger, "--jsonl", str(gateway.out), *topics, "--json")
    audit = _python("firmware_sim", "audit", *options, "--key", str(gateway.key))
    assert audit.returncode == 0, f"{audit.stdout}\n{audit.stderr}"
    found = json.loads(audit.stdout)
    assert (found["acknowledged"], found["sealed"], found["documents"]) == (200, found["arrived"], 10)
    assert _python("firmware_sim", "audit", *options).returncode == 3  # without the key nothing can be opened
