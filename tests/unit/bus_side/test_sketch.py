"""Which of two documents is the newer one, and whose lease is over: every case by itself."""

from __future__ import annotations

import json

import pytest

from bridge.bus_side.sketch import Sketch, Verdict, lease_over, sketch_of, swept, verdict, without_ground

T1, T2, T3 = (f"2026-11-21T10:00:0{second}.000Z" for second in (1, 2, 3))
NAMES = {"gw-a", "gw-old"}


def document(
    gateway: str | None, connected: str = T1, *, reported: int = 0, desired: int = 0, **more: object
) -> Sketch:
    presence = {"state": "online", "gateway": gateway, "gateway_epoch": 1, "connected": connected, "lease_until": T2}
    halves = {name: {"version": count} for name, count in (("reported", reported), ("desired", desired)) if count}
    return sketch_of(json.dumps({"presence": presence if gateway else None} | halves | more).encode())


@pytest.mark.parametrize(
    ("own", "known", "decided"),
    [
        (document("gw-a"), Sketch(), Verdict.SEND),
        (document(None, desired=1), Sketch(), Verdict.SEND),
        (document("gw-a"), document(None, desired=1), Verdict.SEND),
        (document(None, desired=1), document("gw-b"), Verdict.LEAVE),
        (document("gw-b", T2), document("gw-b"), Verdict.LEAVE),
        (document("gw-a", reported=3), document("gw-a", reported=3), Verdict.SEND),
        (document("gw-a", reported=3), document("gw-old", reported=2), Verdict.SEND),
        (document("gw-a", reported=2), document("gw-a", reported=3), Verdict.BEHIND),
        (document("gw-a", T1), document("gw-a", T2), Verdict.BEHIND),
        (document("gw-a", T1, reported=9), document("gw-b", T2), Verdict.OVERTAKEN),
        (document("gw-a", T1), document("gw-b", T1), Verdict.OVERTAKEN),
        (document("gw-a", T2), document("gw-b", T1), Verdict.SEND),
        (document("gw-a", T2, ground={"base": 0}), document("gw-b", T1, reported=4), Verdict.BEHIND),
        (document("gw-a", T2, reported=5, ground={"base": 4}), document("gw-b", T1, reported=4), Verdict.SEND),
        (document("gw-a", T2, desired=1), document("gw-b", T1, desired=2), Verdict.BEHIND),
        (document("gw-a", T2, desired=2), document("gw-b", T1, desired=2), Verdict.SEND),
        (document("gw-a", T2), document("gw-b", T1, labels_version=0), Verdict.BEHIND),
        (document("gw-a", T2, labels_version=3), document("gw-b", T1, labels_version=2), Verdict.SEND),
    ],
)
def test_a_document_goes_out_where_nothing_newer_is_there(own: Sketch, known: Sketch, decided: Verdict) -> None:
    assert verdict(own, known, NAMES) is decided


@pytest.mark.parametrize(
    ("gateway", "over"),
    [
        (None, True),
        ({"epoch": 1, "lease_until": T3}, False),
        ({"epoch": 1, "lease_until": T1}, True),
        ({"epoch": 2, "lease_until": T3, "started": T1}, True),
        ({"epoch": 2, "lease_until": T3, "started": T3}, False),
        ({"epoch": 0, "lease_until": T3}, True),
    ],
)
def test_a_lease_is_over_when_neither_the_document_nor_the_gateway_holds_it(gateway: object, over: bool) -> None:
    gateways = {"gw-a": sketch_of(json.dumps(gateway).encode())} if gateway else {}
    assert lease_over(document("gw-a"), gateways, "2026-11-21T10:00:02.500Z") is over
    assert not lease_over(document("gw-a"), gateways, T1), "the document's own lease"
    assert not lease_over(Sketch(), gateways, T3)


def test_what_is_swept_is_unknown_since_the_lease_ended_and_else_as_it_was() -> None:
    text = json.dumps(
        {"device": "d", "presence": {"state": "online", "gateway": "g", "lease_until": T1, "connected": T1}, "x": [1]}
    )
    after = json.loads(swept(text.encode(), {"g": Sketch(epoch=0, lease_until=T2)}))
    assert after["presence"] == {
        "state": "unknown", "gateway": "g", "lease_until": None, "connected": T1, "reason": "lease-over", "since": T2,
    }  # fmt: skip
    assert after["x"] == [1]


@pytest.mark.parametrize("garbage", [b"", b"[]", b"nonsense", b"\xff", b'{"presence": 1}', b"[" * 10_000])
def test_what_is_no_document_says_nothing_and_stays_as_it_is(garbage: bytes) -> None:
    assert sketch_of(garbage) == Sketch()
    assert without_ground(garbage) == garbage


def test_the_ground_stays_on_the_gateway() -> None:
    text = b'{"device":"d","reported":{"version":1e0,"state":{"ground":1}},"ground":{"base":0}}'
    assert without_ground(text) == b'{"device":"d","reported":{"version":1e0,"state":{"ground":1}}}'


@pytest.mark.parametrize(
    ("desired", "whole", "own"),
    [
        (None, 0, 0),
        ({"version": 4}, 4, 4),
        ({"version": 9, "own": {"version": 4}}, 9, 4),
        ({"version": 9, "own": None}, 9, 0),
    ],
)
def test_what_groups_add_is_not_the_device_s_own_version(desired: object, whole: int, own: int) -> None:
    sketch = sketch_of(json.dumps({"desired": desired}).encode())
    assert (sketch.desired_version, sketch.own_version) == (whole, own)
