"""The conformance page says what the marks say."""

from __future__ import annotations

import pytest

from tests.support import paho_topics
from tests.support.conformance import NOT_FOR_US, PAGE, ROOT, marks, page, standings, statements
from tests.support.mutant_list import mutants


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "./dev docs writes it anew"


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_every_mark_and_every_exception_names_a_statement(version: str) -> None:
    listed, found = statements(version), marks()
    known = {statement.number for statement in listed}
    assert len(known) == len(listed)
    assert set(found.mqtt5 if version == "5" else found.mqtt311) <= known
    assert set(NOT_FOR_US[version]) <= known
    assert not [each.number for each in listed if each.number in NOT_FOR_US[version] and found.holding(each, version)]


def test_the_numbers_of_mqtt_5_that_3_1_1_is_held_by_exist() -> None:
    known = {statement.number for statement in statements("5")}
    assert {number for each in statements("3.1.1") for number in each.as_in_5} <= known


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_no_statement_is_open(version: str) -> None:
    assert [each.number for each, standing, _ in standings(version) if standing == "open"] == []


def test_every_mutant_breaks_statements_that_are_held() -> None:
    marked = marks().mqtt5
    assert all(marked.get(number) for mutant in mutants() for number in mutant.statements)


def test_every_mutant_has_its_place() -> None:
    """Who changes a line that is broken there on purpose changes it in `mutants.txt`, too."""
    assert [(each.path, each.old) for each in mutants() if (ROOT / each.path).read_text().count(each.old) != 1] == []


def test_every_topic_of_the_paho_interoperability_tests_has_a_test() -> None:
    assert set(paho_topics.marks()) == set(paho_topics.TOPICS)
