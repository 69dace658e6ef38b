"""Gateways in directories of the test's own, ended with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.gateway import SMALL_QUEUE, Gateway

NewGateway = Callable[..., Gateway]
MEETING = """
[acl]
publish = ["open/#", "$open/#"]
subscribe = ["#", "$open/#", "$SYS/#"]
[mqtt]
receive_maximum = 8
max_packet_size = "2 KiB"
keepalive_max_s = 300
topic_alias_maximum = 2
response_information = "open/answers/{device}"
sys_interval = "500 ms"
"""


@pytest.fixture
def new_gateway(tmp_path: Path) -> Iterator[NewGateway]:
    """Makes gateways (see `Gateway`), not started."""
    made: list[Gateway] = []

    def make(extra: str = "", **options: str) -> Gateway:
        directory = tmp_path / f"gw-{len(made)}"
        directory.mkdir()
        made.append(Gateway(directory, extra, **options))
        return made[-1]

    yield make
    for gateway in made:
        if gateway.running:
            gateway.kill()


@pytest.fixture
def gateway(new_gateway: NewGateway) -> Gateway:
    """One that runs, with a telemetry and an alarm lane and documents, forwarding to files."""
    return new_gateway().start()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for all tests that do not care what the others did: they use clients of their own."""
    gateway = Gateway(tmp_path_factory.mktemp("broker"), SMALL_QUEUE).start()
    yield gateway
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log(), gateway.log()


@pytest.fixture(scope="session")
def meeting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One where everybody may talk to everybody, on `open/#`, and limits are low enough to be met."""
    gateway = Gateway(tmp_path_factory.mktemp("meeting"), MEETING).start()
    yield gateway
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log(), gateway.log()
