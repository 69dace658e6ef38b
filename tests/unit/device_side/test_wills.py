"""When a will is published (MQTT5 §3.1.2.5, §3.1.3.2.2), over a restart too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.device_side.cold import ColdStore
from bridge.device_side.long_clock import LongClock
from bridge.device_side.wills import Wills
from bridge.message import Message
from bridge.mqtt.events import Will
from tests.unit.device_side.clocks import RIGHT_S, HandClock, long_clock
from tests.unit.device_side.conftest import OpenStore

LAST = Message("status", b"gone")


class Said(list[str]):
    """What was published, and what is to be called when that is on disk."""

    def __init__(self) -> None:
        self.done: list[Callable[[], object]] = []

    def publish(self, device: str, message: Message, done: Callable[[], object]) -> None:
        self.append(f"{device} {message.payload.decode()}")
        self.done.append(done)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def wills(cold: ColdStore, said: Said) -> Wills:
    return Wills(said.publish, cold, long_clock(cold))


def leave(wills: Wills, device: str, delay_s: int = 0, *, session_over: bool = False) -> None:
    """Connects with a will at 10 s by the loop's clock, and goes without a word."""
    wills.connected(device, Will(LAST, delay_s))
    wills.left(device, Will(LAST, delay_s), 10.0, session_over=session_over)


def test_without_a_delay_it_goes_out_at_once(wills: Wills, said: Said) -> None:
    leave(wills, "d")
    assert said == ["d gone"]
    wills.publish_due(1e9)
    assert said == ["d gone"]


@pytest.mark.mqtt("MQTT-3.1.2-7", "MQTT-3.1.2-8")
def test_it_waits_for_its_delay(wills: Wills, said: Said) -> None:
    leave(wills, "d", 5)
    wills.publish_due(14.9)
    assert said == []
    wills.publish_due(15.0)
    wills.publish_due(16.0)
    assert said == ["d gone"]


def test_a_session_that_ends_with_the_connection_or_while_it_waits_brings_it_forward(wills: Wills, said: Said) -> None:
    leave(wills, "d", 5, session_over=True)
    leave(wills, "e", 5)
    assert said == ["d gone"]
    wills.session_over("e")
    wills.session_over("e")
    assert said == ["d gone", "e gone"]


@pytest.mark.mqtt("MQTT-3.1.3-9")
def test_who_comes_back_to_its_session_takes_it_back(wills: Wills, said: Said) -> None:
    """[MQTT-3.1.3-9]."""
    leave(wills, "d", 5)
    wills.resumed("d")
    wills.session_over("d")
    wills.publish_due(1e9)
    assert said == []


def restarted(open_store: OpenStore, off_s: float, *sessions: str) -> Said:
    """What the next daemon says at 50 s by its clock, and what it says when 5 s have gone by."""
    said = Said()
    store = open_store()
    booted = HandClock(50.0, wall=RIGHT_S + off_s, boot=2)
    wills = Wills(said.publish, store, LongClock(booted, store))
    wills.restore(sessions, 50.0)
    said.append("-")
    wills.publish_due(55.0)
    return said


def test_who_was_connected_at_a_kill_has_its_will_published_after_it(
    wills: Wills, cold: ColdStore, open_store: OpenStore
) -> None:
    """At once, or after its delay if its session goes on."""
    wills.connected("now", Will(LAST))
    wills.connected("later", Will(LAST, 5))
    wills.connected("much-later", Will(LAST, 60))
    wills.connected("over", Will(LAST, 60))
    wills.connected("none", None)
    cold.close()
    assert restarted(open_store, 0, "now", "later", "much-later", "none") == [
        "now gone",
        "over gone",
        "-",
        "later gone",
    ]


def test_a_delay_runs_on_over_a_restart(wills: Wills, said: Said, cold: ColdStore, open_store: OpenStore) -> None:
    leave(wills, "soon", 100)
    leave(wills, "late", 200)
    cold.close()
    assert said == []
    assert restarted(open_store, 97, "soon", "late") == ["-", "soon gone"]


def test_what_was_published_taken_back_or_discarded_does_not_come_back(
    wills: Wills, said: Said, cold: ColdStore, open_store: OpenStore
) -> None:
    leave(wills, "published")
    wills.connected("published", None)
    for done in said.done:
        done()
    leave(wills, "back", 60)
    wills.resumed("back")
    wills.connected("back", None)
    wills.connected("polite", Will(LAST))
    wills.discarded("polite")
    cold.close()
    assert restarted(open_store, 0, "published", "back", "polite") == ["-"]
    assert list(open_store().load("wills")) == []


def test_one_whose_publication_is_not_on_disk_yet_is_published_again(
    wills: Wills, said: Said, cold: ColdStore, open_store: OpenStore
) -> None:
    """Though its device is back, with another will."""
    leave(wills, "d")
    wills.connected("d", Will(Message("status", b"gone again")))
    cold.close()
    assert said == ["d gone"]
    assert restarted(open_store, 0, "d") == ["d gone", "d gone again", "-"]
