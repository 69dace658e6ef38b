"""`busbridge` as a user calls it: a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def busbridge(tmp_path: Path) -> Run:
    """Return `run(*arguments, given="")`: it runs in an empty directory, and no run may show a traceback."""

    def run(*arguments: object, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bridge", *map(str, arguments)]
        environment = {"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin", "COLUMNS": "120"}
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False, timeout=60
        )
        assert "Traceback" not in done.stderr
        return done

    return run
