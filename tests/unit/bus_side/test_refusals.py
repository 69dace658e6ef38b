"""What is learnt from a refusal, and for how long."""

from __future__ import annotations

from bridge.bus_side.dead_letter import letters_of
from bridge.bus_side.refusal import Refusal
from bridge.bus_side.refusals import BatchRefused, Refusals
from bridge.bus_side.sink import LaneBatch

LARGE = Refusal("record-too-large", "too large", 3)
TIME = Refusal("invalid-timestamp", "too late", 3)


def refused(refusal, *, topic="t", count=1, size=1000, seq=5):
    return BatchRefused(topic, refusal, count=count, size=size, lane="normal", seq=seq)


def test_batches_shrink_until_the_record_at_fault_is_alone():
    refusals = Refusals("dead", 1000, 60)
    refusals.learn(refused(LARGE, count=8))
    assert refusals.batch_bytes("t") == 500
    assert refusals.batch_bytes("other") == 1000
    refusals.learn(refused(LARGE, count=1))
    assert refusals.of_lane("normal") == {5: LARGE}
    refusals.forget([LaneBatch("normal", [], 6)])
    assert refusals.of_lane("normal") == {}
    # A topic that takes only small batches stays such a topic.
    assert refusals.batch_bytes("t") == 500


def test_batches_grow_again_when_size_was_not_the_fault():
    refusals = Refusals("dead", 1000, 60)
    refusals.learn(refused(TIME, count=8))
    assert refusals.batch_bytes("t") == 500
    refusals.forget([LaneBatch("normal", [], 6)])
    assert refusals.batch_bytes("t") == 1000


def test_topic_is_refused_for_a_while():
    refusals = Refusals("dead", 1000, 60)
    refusals.learn(refused(Refusal("not-authorised", "no"), count=8))
    assert refusals.of_topic("t") is not None
    assert not refusals.expired()
    at_once = Refusals("dead", 1000, 0)
    at_once.learn(refused(Refusal("not-authorised", "no"), count=8))
    assert at_once.of_topic("t") is None
    assert at_once.expired()


def test_letter_that_is_refused_is_cut_in_more_and_more_parts():
    refusals = Refusals("dead", 1000, 60)
    refusals.learn(refused(LARGE))
    refusals.learn(refused(LARGE, topic="dead"))
    refusals.learn(refused(LARGE, topic="dead"))
    refusal = refusals.of_lane("normal")[5]
    letters = list(letters_of([("seq", b"5")], "t", b"0123456789", refusal))
    assert [value for _, value in letters] == [b"012", b"345", b"678", b"9"]
    assert letters[1][0] == [
        ("seq", b"5"),
        ("error", b"record-too-large"),
        ("error-detail", b"too large"),
        ("original-topic", b"t"),
        ("original-partition", b"3"),
        ("part", b"2/4"),
    ]
