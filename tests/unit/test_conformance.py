"""The conformance page says what the marks say."""

from __future__ import annotations

from tests.support import paho_topics
from tests.support.conformance import NOT_FOR_US, PAGE, marks, page, statements


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "./dev docs writes it anew"


def test_every_mark_and_every_exception_names_a_statement() -> None:
    known = {statement.number for statement in statements()}
    assert len(known) == len(statements())
    assert set(marks()) <= known
    assert set(NOT_FOR_US) <= known
    assert not set(NOT_FOR_US) & set(marks())


def test_every_topic_of_the_paho_interoperability_tests_has_a_test() -> None:
    assert set(paho_topics.marks()) == set(paho_topics.TOPICS)
