"""Names of births: on disk before anybody goes on, there after a restart, and bounded."""

from __future__ import annotations

import threading

import pytest

from bridge.device_side.births import Births
from bridge.sparkplug.errors import NotSparkplug
from bridge.sparkplug.names import Names

PATIENCE_S = 10.0
NODE, PUMP = ("client", "plant", "node-1", ""), ("client", "plant", "node-1", "pump")


def names(*metrics: str) -> Names:
    return Names([(name, 3, index) for index, name in enumerate(metrics)], born=1)


class Kept:
    """Births in a cold store; what the loop would be told is done at once, on the store's thread."""

    def __init__(self, store, metrics_max=10):
        self.woken = threading.Semaphore(0)
        self.births = Births(store, metrics_max, 30.0, lambda call: call(), self.woken.release)

    def keep(self, place, given):
        """Until they are on disk."""
        waiting = self.births.keep(place, given)
        assert waiting is not None
        assert self.woken.acquire(timeout=PATIENCE_S)
        assert not waiting.blocked
        again = Names.decode(given.encode())
        assert self.births.keep(place, again) is None
        assert again.by_name is given.by_name


def test_names_are_on_disk_when_a_birth_goes_on(open_store):
    kept = Kept(open_store())
    kept.keep(NODE, names("a"))
    kept.keep(PUMP, names("b", "c"))
    assert dict(Kept(open_store()).births) == {NODE: names("a"), PUMP: names("b", "c")}


def test_while_they_are_on_their_way_there_is_one_way(open_store):
    store = open_store()
    late = []
    births = Births(store, 10, 30.0, late.append, lambda: None)
    first = births.keep(NODE, names("a"))
    assert first.blocked
    assert births.keep(NODE, names("a")) is first
    other = births.keep(NODE, names("b"))
    assert other is not first
    store.close()
    for call in late:
        call()
    assert (first.blocked, other.blocked) == (False, False)
    assert births.keep(NODE, names("b")) is None


def test_all_names_together_are_bounded(open_store):
    kept = Kept(open_store(), metrics_max=5)
    kept.keep(NODE, names("a", "b"))
    with pytest.raises(NotSparkplug, match="knows nearly 5 metrics"):
        kept.births.keep(PUMP, names("c", "d"))
    kept.keep(NODE, names("a"))
    kept.keep(PUMP, names("c", "d"))
    with pytest.raises(NotSparkplug):
        Kept(open_store(), metrics_max=5).births.keep(NODE, names("a", "b"))


def test_what_cannot_be_read_is_left_aside(open_store):
    store = open_store()
    store.put("births", "\0".join(NODE), b"\xff")
    store.put("births", "one level", names("a").encode())
    store.put("births", "\0".join(PUMP), names("b").encode())
    store.close()
    assert dict(Kept(open_store()).births) == {PUMP: names("b")}
