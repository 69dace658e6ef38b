"""Edge nodes and what follows from what they say: whom documents call there, and how often a birth is asked for."""

from __future__ import annotations

import pytest

from bridge.config import Sparkplug
from bridge.device_side.births import Births
from bridge.device_side.devices import BadPatch
from bridge.device_side.edge_nodes import EdgeNodes
from bridge.device_side.sparkplug_way import SparkplugWay
from bridge.sparkplug.names import Names
from tests.support.sparkplug_bytes import metric, payload, whole
from tests.unit.device_side.clocks import HandClock


class Documents:
    """Whom they call there, and what is reported of him."""

    def __init__(self):
        self.said = []
        self.full = False

    def born(self, device, state):
        self.said.append((device, state))
        if self.full:
            raise BadPatch("too large")

    def told(self, device, values):
        self.said.append((device, "told", values))

    def offline(self, device, reason, _seen_ns):
        self.said.append((device, reason))

    def take(self):
        said, self.said = self.said, []
        return said


class Site:
    """Everything but the queue: what is judged is taken."""

    def __init__(self, open_store, **settings):
        self.settings = Sparkplug(**{"json": True, **settings})
        self.documents = Documents()
        self.now = 0.0
        self.asked = []
        self.timers = []
        births = Births(open_store(), 100, 30.0, lambda call: call(), lambda: None)
        self.nodes = EdgeNodes(births, self.documents, HandClock(), lambda: self.now, self._later, self.asked.append)

    def _later(self, seconds, call):
        self.timers.append((self.now + seconds, call))

    def pass_by(self, seconds):
        """What is due by then is called."""
        self.now += seconds
        due = [call for moment, call in self.timers if moment <= self.now]
        self.timers = [each for each in self.timers if each[0] > self.now]
        for call in due:
            call()

    def say(self, kind, seq=None, *metrics, node="node-1", device="", client="node-1", connected=True):
        topic = "/".join(("spBv1.0", "plant", kind, node, device) if device else ("spBv1.0", "plant", kind, node))
        way = SparkplugWay(client, topic, self.settings, self.nodes, reports=self.settings.report is not False)
        body = payload(metrics, seq=seq)
        judged = way.judge(body)
        while judged.waits_for is not None:
            judged = way.judge(body)
        way.take(judged, connected=connected)
        return judged


@pytest.fixture
def site(open_store):
    return Site(open_store)


def one(name="m", value=1):
    return metric(name, whole(10, value), datatype=3)


SESSION = metric("bdSeq", whole(11, 3), datatype=4)
PUMP = "spBv1.0/plant/node-1/pump"


def test_births_and_deaths_are_told_to_the_documents_in_order(site):
    site.say("NBIRTH", 0, SESSION, one())
    site.say("DBIRTH", 1, one("t", 5), device="pump")
    site.say("DDEATH", 2, device="pump")
    site.say("DDEATH", 3, device="pump")
    site.say("DBIRTH", 4, device="pump")
    site.say("NDEATH", None, SESSION)
    assert site.documents.take() == [
        ("node-1", {"m": 1}), (PUMP, {"t": 5}), (PUMP, "device-death"), (PUMP, {}),
        ("node-1", "node-death"), (PUMP, "node-death"),
    ]  # fmt: skip
    counts = site.nodes.counts
    assert (counts.births, counts.deaths, counts.gaps, counts.invalid, site.nodes.alive) == (3, 2, 0, 0, 0)


def test_the_will_of_a_client_says_nothing_of_the_client_itself(site):
    site.say("NBIRTH", 0, SESSION)
    site.say("DBIRTH", 1, device="pump")
    site.documents.take()
    site.say("NDEATH", None, SESSION, connected=False)
    assert site.documents.take() == [(PUMP, "node-death")]
    site.nodes.left("node-1", "connection-lost")
    assert site.documents.take() == []


def test_the_end_of_a_connection_ends_all_for_whom_it_spoke(site):
    for node in ("a", "b"):
        site.say("NBIRTH", 0, node=node, client="hub")
        site.say("DBIRTH", 1, node=node, client="hub", device="d")
    site.documents.take()
    site.nodes.left("somebody else", "disconnected")
    assert site.documents.take() == []
    site.nodes.left("hub", "keepalive")
    assert site.documents.take() == [
        (f"spBv1.0/plant/{name}", "keepalive") for name in ("a/d", "a", "b/d", "b")
    ]  # fmt: skip


def test_the_end_of_another_connection_of_its_client_is_not_its_own(site):
    site.say("NBIRTH", 0, node="a", client="hub\0one")
    site.say("NBIRTH", 0, node="b", client="hub\0two")
    site.documents.take()
    site.nodes.left("hub\0one", "keepalive")
    assert site.documents.take() == [("spBv1.0/plant/a", "keepalive")]
    site.say("NDATA", 1, node="b", client="hub\0three")
    site.nodes.left("hub\0two", "keepalive")
    assert site.nodes.alive == 1
    site.say("NDEATH", None, SESSION, node="b", client="hub\0two", connected=False)  # a will that was late
    site.nodes.left("hub\0three", "keepalive")
    assert site.nodes.alive == 0


def test_a_node_that_was_never_born_is_not_gone(site):
    site.say("NDATA", 1, node="a", client="hub")
    site.nodes.left("hub", "keepalive")
    assert site.documents.take() == []


def test_what_is_known_may_be_born_again_at_the_bounds(open_store):
    site = Site(open_store, devices_max=1, metrics_max=3)
    for _ in range(2):
        assert not site.say("NBIRTH", 0, one("a")).invalid
        assert not site.say("DBIRTH", 1, one("b"), one("c"), device="pump").invalid
    assert site.say("DBIRTH", 2, device="other").invalid
    assert site.say("DBIRTH", 3, one("b"), one("c"), one("d"), device="pump").invalid


def test_a_death_of_a_device_that_never_was_makes_no_document(site):
    site.say("NBIRTH", 0)
    site.documents.take()
    site.say("DDEATH", 1, device="ghost")
    site.say("NDEATH", None, metric("bdSeq", whole(11, 9), datatype=4))
    assert site.documents.take() == []


def test_a_birth_that_is_too_large_for_its_document_is_taken_all_the_same(site):
    site.documents.full = True
    judged = site.say("NBIRTH", 0, one())
    assert (judged.invalid, site.nodes.alive) == (False, 1)


def test_two_clients_do_not_read_by_each_others_names(site):
    site.say("NBIRTH", 0, metric("a", whole(10, 1), alias=1, datatype=3), client="one", node="n")
    judged = site.say("NDATA", 1, metric(alias=1, value=whole(10, 2)), client="two", node="n")
    assert judged.step.stale == "unborn"
    assert b'"name"' not in judged.payload


def test_a_birth_is_asked_for_at_most_once_an_interval(site):
    for moment, asked in ((0.0, 1), (5.0, 1), (9.9, 1), (10.0, 2), (15.0, 2)):
        site.now = moment
        site.say("NDATA", 7)
        assert len(site.asked) == asked
    site.say("NDATA", 7, node="node-2")
    assert [each.topic for each in site.asked] == ["spBv1.0/plant/NCMD/node-1"] * 2 + ["spBv1.0/plant/NCMD/node-2"]
    assert {(each.qos, each.retain) for each in site.asked} == {(0, False)}
    assert site.nodes.counts.rebirths == 3


def test_where_nobody_shall_be_asked_nobody_is(open_store):
    site = Site(open_store, rebirth=False)
    assert site.say("NDATA", 7).step.stale == "unborn"
    assert site.asked == []


def test_one_client_speaks_for_a_bounded_number_of_nodes(open_store):
    site = Site(open_store, nodes_max=2)
    for node in ("a", "b", "c", "a"):
        site.say("NBIRTH", 0, node=node, client="hub")
    assert (site.nodes.alive, site.nodes.counts.invalid) == (2, 1)


def test_a_birth_whose_values_are_none_leaves_no_names(site):
    broken = metric("a", whole(14, 1), alias=1, datatype=3)
    assert site.say("NBIRTH", 0, broken).invalid
    assert dict(site.nodes.births) == {}
    assert site.nodes.alive == 0


def test_what_a_last_life_knew_is_known(open_store):
    store = open_store()
    births = Births(store, 100, 30.0, lambda call: call(), lambda: None)
    births.keep(("c", "g", "n", ""), Names([("x", 3, 1)], born=1))
    births.keep(("c", "g", "n", "d"), Names([("y", 1, 2)], born=1))
    store.close()
    again = Births(open_store(), 100, 30.0, lambda call: call(), lambda: None)
    nodes = EdgeNodes(again, None, HandClock(), lambda: 0.0, lambda *_: None, lambda message: None)
    way = SparkplugWay("c", "spBv1.0/g/DDATA/n/d", Sparkplug(json=True), nodes, reports=True)
    judged = way.judge(payload([metric(alias=2, value=whole(10, 0xFF))], seq=9))
    assert b'"name":"y","alias":2,"type":"Int8","value":-1' in judged.payload
    assert judged.step.stale == "unborn"
    assert nodes.alive == 0


def test_data_is_reported_where_that_is_asked_for_the_last_value_of_each(open_store):
    site = Site(open_store, reported_interval=5.0)
    site.say("NBIRTH", 0, one("a"), one("b"), one("c"))
    site.documents.take()
    site.say("NDATA", 1, one("a", 2), one("b", 2))
    site.pass_by(3)
    site.say("NDATA", 2, one("a", 3), metric("c", datatype=3, more=whole(7, 1)), one("stranger"))
    site.say("NDATA", 3, metric("b", whole(10, 9), datatype=3, more=whole(5, 1)))
    assert site.documents.take() == []
    site.pass_by(2)
    assert site.documents.take() == [("node-1", "told", {"a": 3, "b": 2, "c": None})]
    site.say("NDATA", 4, one("a", 4))
    site.say("NBIRTH", 0, one("a", 5))
    site.pass_by(5)
    assert site.documents.take() == [("node-1", {"a": 5})]


def test_what_was_said_before_a_death_is_told_before_it(open_store):
    site = Site(open_store, reported_interval=5.0)
    site.say("NBIRTH", 0, SESSION)
    site.say("DBIRTH", 1, one("t", 1), device="pump")
    site.documents.take()
    site.say("DDATA", 2, one("t", 2), device="pump")
    site.say("DDEATH", 3, device="pump")
    site.pass_by(5)
    assert site.documents.take() == [(PUMP, "told", {"t": 2}), (PUMP, "device-death")]


def test_data_of_who_is_not_there_is_reported_of_nobody(open_store):
    site = Site(open_store, reported_interval=5.0)
    site.say("NBIRTH", 0, SESSION, one("a"))
    site.say("NDEATH", None, SESSION)
    site.documents.take()
    site.say("NDATA", 1, one("a", 2))
    site.pass_by(5)
    assert site.documents.take() == []
    site.say("NBIRTH", 0, SESSION, one("a"))
    site.say("DBIRTH", 1, one("t"), device="pump")
    site.say("DDEATH", 2, device="pump")
    site.documents.take()
    site.say("DDATA", 3, one("t", 2), device="pump")
    site.pass_by(5)
    assert site.documents.take() == []


def test_what_was_said_before_a_connection_ended_is_told_before_it(open_store):
    site = Site(open_store, reported_interval=5.0)
    site.say("NBIRTH", 0, one("a"))
    site.documents.take()
    site.say("NDATA", 1, one("a", 2))
    site.nodes.left("node-1", "keepalive")
    assert site.documents.take() == [("node-1", "told", {"a": 2})]


def test_what_is_not_for_documents_is_in_none(open_store):
    site = Site(open_store, report=False, reported_interval=5.0)
    site.say("NBIRTH", 0, one("a"))
    site.say("NDATA", 1, one("a", 2))
    site.pass_by(5)
    assert site.documents.take() == [("node-1", None)]
