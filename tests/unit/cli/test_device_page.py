"""What `busbridge devices list` and `show` make of documents, whatever stands in them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.belief import Belief, Presence
from bridge.cli.device_page import page_lines
from bridge.cli.device_table import device_lines, summary
from bridge.cli.output import printable, table_lines
from bridge.row import Asked, Row, row_of, with_belief

ONLINE = Belief("online", "2026-01-01T00:00:00.000Z", "gateway gw-1 says so")
AT = "2026-01-01T00:00:00.000Z"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def page(document: object, belief: Belief = ONLINE) -> list[str]:
    return list(page_lines("dev-1", json.dumps(document).encode(), belief))


def test_a_page_says_what_is_missing_value_by_value() -> None:
    desired = {"interval_s": 10, "net": {"vlan": 7, "proxy": None}, "tags": {}}
    reported = {"interval_s": 60, "net": {"vlan": 7, "proxy": "p:1"}}
    lines = page(
        {
            "device": "dev-1",
            "presence": {"state": "online", "since": AT, "gateway": "gw-1", "gateway_epoch": 3, "connected": AT}
            | {"protocol": "mqtt-5", "address": "private", "session": "new"},
            "reported": {"version": 4, "at": AT, "state": reported},
            "desired": {"version": 2, "at": AT, "state": desired},
            "delta": {"interval_s": 10, "net": {"proxy": None}, "tags": {}},
        }
    )
    assert lines[0] == f"dev-1 is online since {AT}"
    assert f"  connected {AT}, mqtt-5, private address, new session" in lines
    missing = lines[lines.index("missing in reported:") + 1 :]
    assert missing == [
        "  interval_s: desired 10, it reports 60",
        '  net.proxy: to be removed, it reports "p:1"',
        "  tags: desired {}, it reports nothing",
    ]


def test_a_page_of_little() -> None:
    assert page({"device": "dev-1"})[-2:] == ["reported: nothing", "desired: nothing"]
    half = {"version": 1, "at": AT, "state": {}}
    assert page({"reported": half, "desired": half, "delta": {}})[-1] == "in step: it reports all that is desired"
    swept = {"presence": {"state": "online", "since": AT, "gateway": "gw-1", "gateway_epoch": 3}}
    assert f"  the document says online since {AT}" in page(swept, Belief("unknown", AT, "no lease"))


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"presence": 7}'])
def test_what_is_no_document_is_said_to_be_none(value: bytes) -> None:
    assert "is no device document" in next(page_lines("dev-1", value, ONLINE))
    assert row_of(value) == Row()
    assert json.loads(with_belief(value, ONLINE))["believed"]["state"] == "online"


@given(VALUES, VALUES)
def test_any_state_can_be_shown(desired: object, reported: object) -> None:
    halves = {"desired": {"state": {"x": desired}}, "reported": {"state": {"x": reported}}}
    lines = page({**halves, "delta": {"x": desired}})
    assert all(line.isprintable() for line in lines)


def test_a_name_does_nothing_to_a_terminal() -> None:
    assert printable("dev\x1b[2J\n") == "dev\\x1b[2J\\x0a"
    lines = list(table_lines(("device", "state"), [("dév-日本", "online"), ("\x07", "offline")]))
    assert lines == ["device    state", "dév-日本  online", "\\x07      offline"]


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        (Asked(), "abcd"),
        (Asked(patterns=("dev-[ab]", "x*")), "ab"),
        (Asked(states=frozenset({"online"})), "a"),
        (Asked(states=frozenset({"offline", "unknown"})), "bcd"),
        (Asked(gateways=frozenset({"gw-2"})), "b"),
        (Asked(pending=True), "ac"),
        (Asked(labels=("site=north",)), "bd"),
        (Asked(labels=("site=north", "model=x")), "d"),
    ],
    ids=["all", "patterns", "online", "two states", "gateway", "pending", "label", "labels"],
)
def test_which_devices_are_asked_for(asked: Asked, taken: str) -> None:
    rows = {
        "dev-a": (Row(Presence("online", gateway="gw-1"), delta={"x": b"1"}), "online"),  # type: ignore[dict-item]
        "dev-b": (Row(Presence("offline", gateway="gw-2"), labels={"site": "north"}), "offline"),
        "dev-c": (Row(Presence("online", gateway="gw-1"), delta={"x": b"1"}), "unknown"),  # type: ignore[dict-item]
        "dev-d": (Row(labels={"site": "north", "model": "x"}), "unknown"),
    }
    named = asked.of_name()
    found = [name[-1] for name, (row, state) in rows.items() if named(name) and asked.takes(row, Belief(state, "", ""))]
    assert "".join(found) == taken


def test_labels_have_a_column_where_there_are_any() -> None:
    bare = [("dev-1", Row(Presence("online", gateway="gw-1")), ONLINE)]
    labelled = [*bare, ("dev-2", Row(labels={"b": "2", "a": "1"}), Belief("unknown", "", ""))]
    assert next(device_lines(bare)).split()[-1] == "delta"
    head, _, last = device_lines(labelled)
    assert (head.split()[-1], last.split()[-2:]) == ("labels", ["a=1", "b=2"])
    assert summary(labelled) == "2 devices: 1 online, 1 unknown; 1 gateways"
    assert summary([]) == "no devices"
