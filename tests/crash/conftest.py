"""What the crash tests share: libraries to preload, compiled once."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Preload = Callable[[str], dict[str, str]]
"""From the name of a C file beside this one: what the environment of a process needs so that it is in force there."""


@pytest.fixture(scope="session")
def preload(tmp_path_factory: pytest.TempPathFactory) -> Preload:
    """Compiles a library for LD_PRELOAD, once for each source; skips where there is no compiler."""
    compiler = shutil.which("cc")
    directory = tmp_path_factory.mktemp("preload")

    def library(name: str) -> dict[str, str]:
        if compiler is None:
            pytest.skip("needs a C compiler for the library that stands between the process and the disk")
        source, built = Path(__file__).with_name(name), directory / f"{name}.so"
        if not built.exists():
            command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", built, source, "-ldl", "-lpthread"]
            subprocess.run(command, check=True)
        return {"LD_PRELOAD": str(built)}

    return library
