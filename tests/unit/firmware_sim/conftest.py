"""What the fleet's tests share: an embedded Kafka-protocol broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_sim.child import Child


@pytest.fixture
def embedded_kafka(tmp_path: Path) -> Iterator[str]:
    """Give the address of a new and empty broker."""
    child = Child("firmware_sim.embedded_kafka", [], tmp_path / "embedded-kafka.out")
    try:
        yield child.wait_for("READY", 20)
    finally:
        child.stop()
