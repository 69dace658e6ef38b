"""How long a session lasts (MQTT5 §4.1, §3.1.2.11.2)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.config import Mqtt
from bridge.device_side.cold import ColdStore
from bridge.mqtt.subscription import Subscription
from tests.unit.device_side.local import Local, local


@pytest.fixture
def gateway(cold: ColdStore) -> Iterator[Local]:
    with local(cold, Mqtt(session_expiry_max_s=60)) as made:
        yield made


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.mqtt("MQTT-4.1.0-1")
def test_a_session_lasts_while_its_connection_stands(gateway: Local, version: int, clean: bool) -> None:
    """However short its expiry interval is."""
    peer = gateway.connect("c", version, clean=clean, expiry_s=1 if version == 5 else 0)
    peer.subscribe(Subscription("a", 1))
    gateway.now += 1e6
    assert gateway.broker.expire() == []
    gateway.tell("a", "still there")
    assert peer.payloads() == ["still there"]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.mqtt("MQTT-4.1.0-2")
def test_it_ends_when_its_interval_is_over(gateway: Local, version: int) -> None:
    """3.1.1 names none: there the longest that is granted counts."""
    for away_s, present in ((59, True), (61, False)):
        gateway.connect("c", version, clean=False, expiry_s=60).drop()
        gateway.now += away_s
        assert gateway.broker.expire() == ([] if present else ["c"])
        peer = gateway.connect("c", version, clean=False, expiry_s=60)
        assert peer.connack.session_present is present  # type: ignore[union-attr]  # it is a CONNACK
        peer.drop()
        gateway.now += 61
        gateway.broker.expire()
