"""Short forms of `./dev bench attack`, with its attackers: service goes on, memory stays bounded (see `unharmed`)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.bench.support.attackers import Attack, big_connects, hasty, slow_readers, storm
from tests.robustness.target import Target, wait_until

FLEET = 60
SECONDS_MAX = 20.0


@pytest.fixture
def fleet(daemon: Target, tmp_path: Path) -> list[Path]:
    return [daemon.authority.device(f"storm-{number:03d}", into=tmp_path) for number in range(FLEET)]


@pytest.mark.parametrize(
    ("kind", "enough"),
    [
        pytest.param(storm, {"let in": 3 * FLEET}, id="everybody comes back at once, three times"),
        pytest.param(slow_readers, {"sent": 500}, id="50 devices that do not read"),
        pytest.param(big_connects, {"sent": 50}, id="CONNECTs of a megabyte"),
        pytest.param(hasty, {"sent": 1000}, id="a hundred times as much as usual"),
    ],
)
def test_attacks(daemon: Target, fleet: list[Path], kind, enough: dict[str, int]) -> None:
    attack = Attack(daemon.tls_port, daemon.authority.pem, fleet, threading.Event())
    attacker = threading.Thread(target=kind, args=(attack,))
    attacker.start()
    try:
        assert wait_until(lambda: all(attack.did[name] >= count for name, count in enough.items()), SECONDS_MAX)
    finally:
        attack.stop.set()
        attacker.join(SECONDS_MAX)
    assert not attacker.is_alive()
    assert not attack.did["turned away"]
    assert not [line for line in daemon.log_lines() if "Traceback" in line]
