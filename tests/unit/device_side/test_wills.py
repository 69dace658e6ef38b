"""When a will is published (MQTT5 §3.1.2.5, §3.1.3.2.2)."""

from __future__ import annotations

import pytest

from bridge.device_side.wills import Wills
from bridge.message import Message
from bridge.mqtt.events import Will

LAST = Message("status", b"gone")


def published() -> tuple[Wills, list[str]]:
    said: list[str] = []
    return Wills(lambda device, message: said.append(f"{device} {message.payload.decode()}")), said


def test_without_a_delay_it_goes_out_at_once() -> None:
    wills, said = published()
    wills.left("d", Will(LAST), 10.0, session_over=False)
    assert said == ["d gone"]
    wills.publish_due(1e9)
    assert said == ["d gone"]


def test_it_waits_for_its_delay() -> None:
    wills, said = published()
    wills.left("d", Will(LAST, 5), 10.0, session_over=False)
    wills.publish_due(14.9)
    assert said == []
    wills.publish_due(15.0)
    wills.publish_due(16.0)
    assert said == ["d gone"]


def test_a_session_that_ends_with_the_connection_or_while_it_waits_brings_it_forward() -> None:
    wills, said = published()
    wills.left("d", Will(LAST, 5), 10.0, session_over=True)
    wills.left("e", Will(LAST, 5), 10.0, session_over=False)
    assert said == ["d gone"]
    wills.session_over("e")
    wills.session_over("e")
    assert said == ["d gone", "e gone"]


@pytest.mark.mqtt("MQTT-3.1.3-9")
def test_who_comes_back_to_its_session_takes_it_back() -> None:
    """[MQTT-3.1.3-9]."""
    wills, said = published()
    wills.left("d", Will(LAST, 5), 10.0, session_over=False)
    wills.resumed("d")
    wills.session_over("d")
    wills.publish_due(1e9)
    assert said == []
