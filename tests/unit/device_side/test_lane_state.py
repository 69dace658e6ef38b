"""LaneState: what a segment's checkpoint carries on, and that those of earlier versions are read."""

from __future__ import annotations

from pathlib import Path

from bridge.device_side.handshakes import Opened
from bridge.device_side.lane_state import LaneState
from tests.unit.log.lane import SMALL, Lane, message


def test_both_parts_come_back() -> None:
    state, again = LaneState(), LaneState()
    state.apply(Opened("dev-1", 7))
    state.heavy = {"dev-1": 12_345}
    again.restore(state.checkpoint())
    assert (again.handshakes.open, again.heavy) == ({"dev-1": {7}}, {"dev-1": 12_345})


def test_a_checkpoint_of_an_earlier_version_is_the_hand_shakes_alone() -> None:
    state, again = LaneState(), LaneState()
    for device in ("a", "b"):
        state.apply(Opened(device, 3))
    again.restore(state.handshakes.checkpoint())
    assert (again.handshakes.open, again.heavy) == ({"a": {3}, "b": {3}}, {})


def test_a_start_learns_from_the_last_segment_what_waits(tmp_path: Path) -> None:
    state = LaneState()
    lane = Lane(tmp_path, SMALL, state)
    lane.commit(b"opens the first segment")
    state.heavy = {"dev-9": 99_999}
    while len(lane.segments()) < 2:
        lane.commit(bytes(5_000))
    first = int(lane.segments()[-1].stem)
    lane.commit(bytes(700))
    lane.writer.close()
    again = LaneState()
    Lane(tmp_path, SMALL, again).writer.close()
    assert again.heavy == {"dev-9": 99_999}
    assert again.replayed == lane.writer.next_seq - first
    sizes = [len(message(payload)) for payload in lane.payloads(first)]
    assert again.behind == {"dev-1": sum(sizes)}
