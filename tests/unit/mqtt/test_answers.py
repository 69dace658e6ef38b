"""Answers leave in the order of what they answer, whatever order they come in."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mqtt.answers import Answers


@given(st.lists(st.integers(1, 9), unique=True), st.randoms(use_true_random=False))
@pytest.mark.mqtt("MQTT-4.6.0-2", "MQTT-4.6.0-3")
def test_each_waits_for_those_before_it_and_for_no_other(came: list[int], random: Random) -> None:
    output: list[bytes] = []
    answers = Answers(output)
    answers.awaited += came
    done = sorted(came, key=lambda _: random.random())
    for count, packet_id in enumerate(done, 1):
        answers.give(packet_id, b"%d" % packet_id)
        told = [each for at, each in enumerate(came) if set(came[: at + 1]) <= set(done[:count])]
        assert output == [b"%d" % each for each in told]
    assert answers.awaited == []


def test_what_nobody_waits_for_goes_out_at_once_and_keeps_nothing_up() -> None:
    output: list[bytes] = []
    answers = Answers(output)
    answers.awaited += [1, 2]
    answers.give(3, b"3")
    answers.give(2, b"2")
    answers.give(2, b"again")
    answers.give(1, b"1")
    assert output == [b"3", b"again", b"1", b"2"]


@given(st.lists(st.integers(1, 3)), st.randoms(use_true_random=False))
def test_an_id_that_a_client_has_in_use_twice_is_answered_twice(came: list[int], random: Random) -> None:
    output: list[bytes] = []
    answers = Answers(output)
    answers.awaited += came
    for packet_id in sorted(came, key=lambda _: random.random()):
        answers.give(packet_id, b"%d" % packet_id)
    assert (output, answers.awaited) == ([b"%d" % each for each in came], [])


def test_nothing_is_left_of_a_connection_that_is_over() -> None:
    output: list[bytes] = []
    answers = Answers(output)
    answers.awaited += [1, 2]
    answers.give(2, b"2")
    answers.forget()
    answers.give(1, b"1")
    assert (output, answers.awaited) == ([b"1"], [])
