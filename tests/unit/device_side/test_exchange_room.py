"""What the open QoS 2 exchanges take is never more in a checkpoint than was counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.device_side.exchange_room import ExchangeRoom
from bridge.device_side.handshakes import Handshakes, Opened, Released, Reset

DEVICES = st.sampled_from(["a", "dev-00001", "é" * 40, "x" * 300])
CHECKPOINT_HEAD_BYTES = 5
STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "open", "open", "release", "reset"]), DEVICES, st.integers(1, 65_535))
)


@given(STEPS)
def test_a_checkpoint_is_no_longer_than_counted_and_nothing_is_left_at_the_end(
    steps: list[tuple[str, str, int]],
) -> None:
    room, handshakes = ExchangeRoom(1 << 20, 0.0), Handshakes()
    for step, device, packet_id in steps:
        ids = handshakes.open.get(device, set())
        if step == "open" and packet_id not in ids:
            room.opened(device, first=not ids)
            handshakes.apply(Opened(device, packet_id))
        elif step == "release" and ids:
            room.ended(device, 1, last=len(ids) == 1)
            handshakes.apply(Released(device, next(iter(ids))))
        elif step == "reset" and ids:
            room.ended(device, len(ids), last=True)
            handshakes.apply(Reset(device))
        assert len(handshakes.checkpoint()) <= room.used + CHECKPOINT_HEAD_BYTES
    for device, ids in handshakes.open.items():
        room.ended(device, len(ids), last=True)
    assert room.used == 0


def test_it_is_in_the_way_from_its_limit_on() -> None:
    room = ExchangeRoom(20, 0.0)
    room.opened("12", first=True)
    assert not room.blocked
    room.opened("12", first=False)
    room.opened("12", first=False)
    room.opened("12", first=False)
    assert room.blocked
    assert "20 B" in room.why
    room.ended("12", 4, last=True)
    assert not room.blocked
