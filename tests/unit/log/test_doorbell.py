"""The door bell between two processes' sides, on a real socket pair."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from bridge.log.doorbell import Doorbell, DoorbellClosed, Health, Note, pair


@pytest.fixture
def ends() -> Iterator[tuple[Doorbell, Doorbell]]:
    both = [Doorbell(sock) for sock in pair()]
    yield both[0], both[1]
    for end in both:
        end.close()


def test_a_note_comes_as_it_was_sent(ends: tuple[Doorbell, Doorbell]) -> None:
    here, there = ends
    note = Note(
        committed={"normal": 2**63 - 1},
        forwarded={"é": 1},
        downlink_committed=3,
        downlink_forwarded=4,
        health=Health("away", 1.5, "no route", 7),
        ready=True,
    )
    assert here.send(note)
    assert here.send(Note())
    assert there.receive() == [note, Note()]
    assert there.receive() == []


def test_both_ways(ends: tuple[Doorbell, Doorbell]) -> None:
    here, there = ends
    here.send(Note(committed={"a": 1}))
    there.send(Note(forwarded={"a": 1}))
    assert (here.receive(), there.receive()) == ([Note(forwarded={"a": 1})], [Note(committed={"a": 1})])


def test_a_full_socket_says_so_and_the_newest_state_gets_through_later(ends: tuple[Doorbell, Doorbell]) -> None:
    here, there = ends
    sent = 0
    while here.send(Note(committed={"normal": sent})):
        sent += 1
    heard = [note.committed["normal"] for note in there.receive()]
    assert heard == list(range(sent))
    assert here.send(Note(committed={"normal": sent}))
    assert there.receive() == [Note(committed={"normal": sent})]


def test_what_was_said_before_the_end_is_heard_first(ends: tuple[Doorbell, Doorbell]) -> None:
    here, there = ends
    here.send(Note(ready=True))
    here.close()
    assert select.select([there], [], [], 5)[0] == [there]
    assert there.receive() == [Note(ready=True)]
    with pytest.raises(DoorbellClosed):
        there.receive()
    with pytest.raises(DoorbellClosed):
        there.send(Note())


def test_the_end_of_the_process_on_the_other_side_closes_it() -> None:
    mine, theirs = pair()
    child = os.fork()
    if not child:
        mine.close()
        os._exit(0)
    theirs.close()
    os.waitpid(child, 0)
    bell = Doorbell(mine)
    with pytest.raises(DoorbellClosed):
        bell.receive()
    bell.close()


def test_a_note_of_a_newer_version_with_more_in_it_is_understood(ends: tuple[Doorbell, Doorbell]) -> None:
    import msgspec

    mine, theirs = pair()
    with mine, theirs:
        mine.send(msgspec.msgpack.encode({"committed": {"a": 1}, "from_the_future": [1, 2]}))
        assert Doorbell(theirs).receive() == [Note(committed={"a": 1})]
