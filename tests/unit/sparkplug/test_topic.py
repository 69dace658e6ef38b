"""Sparkplug's topics."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sparkplug.errors import NotSparkplug
from bridge.sparkplug.topic import Topic, command_topic, parse

LONGEST = 32


@pytest.mark.parametrize(
    ("topic", "found", "key"),
    [
        ("spBv1.0/g/NBIRTH/n", Topic("NBIRTH", "g", "n"), "spBv1.0/g/n"),
        ("spBv1.0/g/DDATA/n/d", Topic("DDATA", "g", "n", "d"), "spBv1.0/g/n/d"),
        (
            "spBv1.0/Plant 1/NDEATH/Raspberry Pi",
            Topic("NDEATH", "Plant 1", "Raspberry Pi"),
            "spBv1.0/Plant 1/Raspberry Pi",
        ),
        ("spBv1.0/gateway/DBIRTH/n/d", Topic("DBIRTH", "gateway", "n", "d"), "spBv1.0/gateway/n/d"),
        ("spBv1.0/STATE/scada", Topic("STATE", node="scada"), "spBv1.0//scada"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_topic_says(topic, found, key):
    assert parse(topic, LONGEST) == found
    assert found.key == key


@pytest.mark.parametrize(
    "topic",
    [
        "spBv1.0", "spBv1.0/", "spBv1.0/g/NBIRTH", "spBv1.0/g/NBIRTH/n/d", "spBv1.0/g/DBIRTH/n", "spBv1.0/g/nbirth/n",
        "spBv1.0/g/DDATA/n/d/e", "spBv1.0/g/STATE/n", "spBv1.0/STATE/a/b", "spAv1.0/g/NBIRTH/n", "STATE/scada",
        "spBv1.0//NBIRTH/n", "spBv1.0/g/NBIRTH/", "spBv1.0/g/DDATA/n/", "spBv1.0/STATE/",
        "spBv1.0/g/NBIRTH/" + "n" * 33, "spBv1.0/" + "é" * 17 + "/NBIRTH/n",
    ],
)  # fmt: skip
def test_what_is_none(topic):
    with pytest.raises(NotSparkplug):
        parse(topic, LONGEST)


@given(st.text())
def test_any_text_is_a_topic_or_is_refused(text):
    with contextlib.suppress(NotSparkplug):
        parse(text, LONGEST)


def test_a_node_hears_commands_there():
    assert parse(command_topic("g", "n"), LONGEST) == Topic("NCMD", "g", "n")
