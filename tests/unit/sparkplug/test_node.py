"""An edge node's life: births, sequence, deaths; against an oracle that keeps the whole history."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.sparkplug import commands, wire
from bridge.sparkplug.errors import NotSparkplug
from bridge.sparkplug.host_state import HostState, host_state
from bridge.sparkplug.metrics import Bounds, decode
from bridge.sparkplug.names import Names
from bridge.sparkplug.node import GAP, UNBORN, UNKNOWN_METRIC, EdgeNode, Facts


def names(*metrics):
    return Names([(name, 3, index) for index, name in enumerate(metrics)], born=1)


def nbirth(bd_seq=0, seq=0):
    return Facts("NBIRTH", seq=seq, bd_seq=bd_seq, names=names("n"))


def dbirth(seq, device="d"):
    return Facts("DBIRTH", device, seq, names=names("m"))


def tell(node, *facts):
    """The last of the steps."""
    for each in facts:
        step = node.judge(each)
        node.take(step)
    return step


def test_a_life_in_order():
    node = EdgeNode()
    for step in (
        tell(node, nbirth()),
        tell(node, dbirth(1)),
        tell(node, Facts("DDATA", "d", 2)),
        tell(node, Facts("NDATA", seq=3)),
    ):
        assert (step.stale, step.gap, step.wants_birth) == (None, False, False)
    assert (node.alive, node.present, node.size) == (True, {"d"}, 2)
    assert tell(node, Facts("NDEATH", bd_seq=0)).gone == ("d",)
    assert (node.alive, node.present) == (False, set())


def test_the_sequence_goes_on_behind_255():
    node = EdgeNode()
    tell(node, nbirth())
    for number in range(1, 600):
        assert tell(node, Facts("NDATA", seq=number % 256)).stale is None


def test_a_gap_lasts_until_the_next_birth():
    node = EdgeNode()
    tell(node, nbirth())
    first = tell(node, Facts("NDATA", seq=2))
    assert (first.gap, first.stale, first.wants_birth) == (True, GAP, True)
    second = tell(node, Facts("NDATA", seq=3))
    assert (second.gap, second.stale, second.wants_birth) == (False, GAP, True)
    assert tell(node, nbirth()).stale is None
    assert tell(node, Facts("NDATA", seq=1)).stale is None


def test_the_same_message_twice_is_a_gap():
    node = EdgeNode()
    tell(node, nbirth(), Facts("NDATA", seq=1))
    assert tell(node, Facts("NDATA", seq=1)).gap


def test_data_before_the_birth():
    node = EdgeNode()
    step = tell(node, Facts("NDATA", seq=7))
    assert (step.stale, step.gap) == (UNBORN, False)
    assert tell(node, dbirth(8)).stale == UNBORN
    tell(node, nbirth())
    assert tell(node, Facts("DDATA", "d", 1)).stale == UNBORN


def test_a_metric_that_the_birth_has_not():
    node = EdgeNode()
    tell(node, nbirth())
    assert tell(node, Facts("NDATA", seq=1, strangers=True)).stale == UNKNOWN_METRIC
    assert tell(node, Facts("NDATA", seq=2)).stale == UNKNOWN_METRIC


def test_what_a_former_life_of_the_gateway_knew_names_data_and_is_not_relied_on():
    node = EdgeNode(names("n"), {"d": names("m")})
    assert node.names_of("d").by_alias == {0: ("m", 3)}
    assert tell(node, Facts("DDATA", "d", 99)).stale == UNBORN


def test_a_death_of_another_session_is_ignored():
    node = EdgeNode()
    tell(node, nbirth(bd_seq=4))
    for other in (3, 5, None):
        assert tell(node, Facts("NDEATH", bd_seq=other)).ignored
        assert node.alive
    nameless = EdgeNode()
    tell(nameless, nbirth(bd_seq=None))
    assert tell(nameless, Facts("NDEATH")).ignored
    assert not tell(node, Facts("NDEATH", bd_seq=4)).ignored
    assert tell(node, Facts("NDEATH", bd_seq=4)).ignored
    assert tell(node, Facts("NDATA", seq=1)).stale == UNBORN


def test_a_device_that_died():
    node = EdgeNode()
    tell(node, nbirth(), dbirth(1), Facts("DDEATH", "d", 2))
    assert node.present == set()
    assert tell(node, Facts("DDATA", "d", 3)).stale == UNBORN


def test_a_device_that_is_not_born_with_its_node_again_is_gone():
    node = EdgeNode()
    tell(node, nbirth(), dbirth(1, "a"), dbirth(2, "b"))
    assert tell(node, nbirth()).gone == ()
    assert tell(node, dbirth(1, "b")).gone == ()
    assert tell(node, Facts("DDATA", "b", 2)).gone == ("a",)
    assert tell(node, Facts("DDATA", "b", 3)).gone == ()
    assert node.present == {"b"}


def test_births_and_deaths_of_devices_say_nothing_of_the_others():
    node = EdgeNode()
    tell(node, nbirth(), dbirth(1, "a"), dbirth(2, "b"), nbirth())
    assert tell(node, Facts("DDEATH", "a", 1)).gone == ()
    assert tell(node, Facts("NDATA", seq=2)).gone == ("b",)


def test_who_was_to_be_born_again_goes_once():
    for end in (lambda node: tell(node, Facts("NDEATH", bd_seq=0)).gone, EdgeNode.lost):
        node = EdgeNode()
        tell(node, nbirth(), dbirth(1, "a"), nbirth())
        assert end(node) == ("a",)
        assert tell(node, Facts("NDATA", seq=1)).gone == ()


def test_a_connection_that_is_over():
    node = EdgeNode()
    tell(node, nbirth(), dbirth(1, "b"), dbirth(2, "a"))
    assert node.lost() == ("a", "b")
    assert node.lost() == ()
    assert tell(node, Facts("NDATA", seq=3)).stale == UNBORN


def test_a_number_that_is_none():
    with pytest.raises(NotSparkplug):
        EdgeNode().judge(Facts("NDATA", seq=256))


def test_judging_changes_nothing():
    node = EdgeNode()
    tell(node, nbirth())
    before = node.names, dict(node.devices), node.alive, node.next_seq, node.stale
    for facts in (nbirth(9), dbirth(7), Facts("DDEATH", "d", 3), Facts("NDEATH", bd_seq=0)):
        node.judge(facts)
    assert (node.names, node.devices, node.alive, node.next_seq, node.stale) == before


messages = st.one_of(
    st.integers(0, 3).map(lambda bd_seq: ("NBIRTH", "", bd_seq)),
    st.integers(0, 3).map(lambda bd_seq: ("NDEATH", "", bd_seq)),
    st.tuples(st.sampled_from(["DBIRTH", "DDATA", "DDEATH"]), st.sampled_from("ab"), st.none()),
    st.tuples(st.sampled_from(["NDATA", "LOST", "SKIP"]), st.just(""), st.none()),
)


@given(st.lists(messages, max_size=40))
@example([("NBIRTH", "", 0), ("DBIRTH", "b", None), ("NBIRTH", "", 0), ("DDATA", "b", None)])
def test_against_a_node_that_numbers_what_it_sends(history):
    """The oracle is the sender: it knows which of its messages never came, and what it said since its last birth."""
    node, number, bd_seq = EdgeNode(), 0, None
    born, missing, doubtful = False, False, False
    there: set[str] = set()
    for kind, device, session in history:
        if kind == "LOST":
            node.lost()
            born, there = False, set()
            continue
        if kind == "NDEATH":
            step = tell(node, Facts(kind, bd_seq=session))
            if born and session == bd_seq:
                born, there = False, set()
            assert step.alive == born
            continue
        if kind == "NBIRTH":
            number, bd_seq, born, missing, doubtful = 0, session, True, False, False
        if kind == "SKIP":
            number += 1
            missing = True
            continue
        facts = Facts(kind, device, number % 256, session, names("m") if "BIRTH" in kind else None)
        doubtful = doubtful or not born or missing or (kind == "DDATA" and device not in there)
        step = tell(node, facts)
        assert (step.stale is not None) == doubtful, facts
        assert step.wants_birth == doubtful
        number, missing = number + 1, False
        if kind == "NBIRTH":
            there = set()
        if kind == "DBIRTH":
            there.add(device)
        if kind == "DDEATH":
            there.discard(device)
        if not kind.startswith("N"):
            assert node.present >= there


def test_the_request_for_a_birth():
    payload = wire.parse(commands.rebirth(1700000000000))
    (metric,) = decode(payload.metrics, None, Bounds(values_max=9, nesting_max=1)).metrics
    assert metric == {"name": "Node Control/Rebirth", "type": "Boolean", "timestamp": 1700000000000, "value": True}
    assert (payload.timestamp, payload.HasField("seq")) == (1700000000000, False)


def test_host_applications():
    assert host_state(b'{"online":true,"timestamp":5,"more":1}') == HostState(online=True, timestamp=5)
    for other in (b"ONLINE", b"{}", b'{"online":1,"timestamp":5}', b"\xff", b"[" * 100_000):
        with pytest.raises(NotSparkplug):
            host_state(other)
