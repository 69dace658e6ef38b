"""Every command teaches itself."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.unit.cli.conftest import CHECKOUT

COMMANDS = [
    ("init",),
    ("run",),
    ("check",),
    ("open",),
    ("certs", "init"),
    ("certs", "issue"),
    ("certs", "list"),
    ("devices", "gateways"),
    ("devices", "label"),
    ("devices", "list"),
    ("devices", "send"),
    ("devices", "set"),
    ("devices", "show"),
    ("keys", "new"),
    ("queue", "inspect"),
    ("queue", "verify"),
    ("queue", "export"),
    ("queue", "replay"),
    ("queue", "adopt"),
    ("queue", "dead-letters"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(busbridge, command):
    done = busbridge(*command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"  busbridge {' '.join(command)} " in done.stdout


def test_help_is_quick_and_names_the_commands(busbridge):
    busbridge("--help")
    start = time.monotonic()
    done = busbridge("--help")
    assert time.monotonic() - start < 2.0  # 0.35 s on an idle machine; with cryptography and aiokafka well over 1 s
    assert {"init", "run", "check", "open", "certs", "keys"} <= set(done.stdout.split())


def test_a_shell_completes_commands_and_what_they_take():
    def words(line: str, index: int) -> set[str]:
        asked = {"_BUSBRIDGE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(index)}
        environment = {"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin", **asked}
        command = [sys.executable, "-m", "bridge"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=60)
        return set(done.stdout.split())

    assert {"inspect", "verify", "export", "replay", "adopt", "dead-letters"} <= words("busbridge queue ", 2)
    assert words("busbridge queue dead-letters data re", 4) == {"replay"}
    assert {"--config", "--dry-run", "--from"} <= words("busbridge queue replay data --", 4)


def test_version(busbridge):
    done = busbridge("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("busbridge ")


@pytest.mark.parametrize("arguments", [("nonsense",), ("init",), ("certs", "issue", "--count", "0", "--out", "x")])
def test_wrong_usage_is_2(busbridge, arguments):
    assert busbridge(*arguments).returncode == 2


def test_completion_can_be_shown(busbridge):
    assert busbridge("--show-completion", "bash").returncode == 0
