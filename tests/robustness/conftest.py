"""The daemon under attack, and what must hold after every attack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.robustness.steady import SteadyDevice
from tests.robustness.target import Target, target, wait_until

GOOD_TIME_S = 2.0
"""Slowest acknowledgement of the well-behaved device: generous, since the attacker has the same two cores."""
SPARE_FILES = 2
GROWTH_MAX_BYTES = 16 << 20
FILES_SETTLE_S = 15.0


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One daemon for all attacks: what one leaves behind, the next would show."""
    with target(tmp_path_factory.mktemp("robustness")) as running:
        yield running


@pytest.fixture(scope="module")
def steady(daemon: Target) -> Iterator[SteadyDevice]:
    """The well-behaved device, connected before the first attack and until after the last."""
    certificate = daemon.authority.device("steady")
    with SteadyDevice("steady", daemon.tls_port, daemon.authority.pem, certificate) as device:
        yield device


@pytest.fixture(autouse=True)
def unharmed(daemon: Target, steady: SteadyDevice) -> Iterator[None]:
    """The attack costs its own connections and nothing else."""
    daemon.turn_page()
    mark, files, memory = steady.mark(), daemon.open_files(), daemon.memory()
    yield
    assert daemon.alive
    slowest = steady.slowest_since(mark)
    assert slowest < GOOD_TIME_S, f"the well-behaved device waited {slowest:.2f} s for an acknowledgement"
    settled = wait_until(lambda: daemon.open_files() <= files + SPARE_FILES, FILES_SETTLE_S)
    assert settled, f"{daemon.open_files() - files} more files are open than before"
    assert daemon.memory() - memory < GROWTH_MAX_BYTES


@pytest.fixture
def device_certificate(daemon: Target, tmp_path: Path) -> Path:
    """A good certificate of a device of its own, `attacker`."""
    return daemon.authority.device("attacker", into=tmp_path)
