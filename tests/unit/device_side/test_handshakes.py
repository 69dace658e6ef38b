"""Open QoS 2 hand-shakes: the fold over records, its checkpoint, and the log that carries it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.device_side.handshakes import Effect, Handshakes, Opened, Released, Reset, headers_of
from bridge.log import record
from bridge.log.settings import LogSettings
from bridge.mqtt.session_name import device_of, session_name
from tests.unit.log.lane import Lane

KIB = 1 << 10
SESSIONS = st.sampled_from(
    ["dev-1", "dev-2", session_name("dev-1", "app"), session_name("dev-2", "app"), session_name("dev-1", "dev-2")]
)
PACKET_IDS = st.integers(1, 5)
EFFECTS = st.lists(
    st.one_of(
        st.builds(Opened, SESSIONS, PACKET_IDS),
        st.builds(Released, SESSIONS, PACKET_IDS),
        st.builds(Reset, SESSIONS),
    ),
    max_size=60,
)


def oracle(effects: list[Effect]) -> dict[str, set[int]]:
    """A set of pairs, filtered: the simplest thing that can be right."""
    pairs: set[tuple[str, int]] = set()
    for effect in effects:
        if isinstance(effect, Opened):
            pairs.add((effect.session, effect.packet_id))
        elif isinstance(effect, Released):
            pairs.discard((effect.session, effect.packet_id))
        else:
            pairs = {pair for pair in pairs if pair[0] != effect.session}
    return {session: {id_ for name, id_ in pairs if name == session} for session, _ in pairs}


def as_record(effect: Effect, payload: bytes = b"", kind: int = record.MESSAGE) -> bytes:
    """What the pipeline appends with this effect."""
    headers = record.encode_headers((*headers_of(effect.session), ("content-type", b"text/plain")))
    context = record.encode_context(device_of(effect.session), "t", "telemetry")
    if isinstance(effect, Opened):
        return record.encode(kind, 2, effect.packet_id, 0, 0, context, headers, payload)
    if isinstance(effect, Released):
        return record.encode(record.RELEASE, 0, effect.packet_id, 0, 0, context, headers, b"")
    return record.encode(record.RESET, 0, 0, 0, 0, context, headers, b"")


@given(EFFECTS)
def test_effects_and_their_records_fold_to_what_the_oracle_says(effects: list[Effect]) -> None:
    live, replayed = Handshakes(), Handshakes()
    for effect in effects:
        live.apply(effect)
        replayed.replay(record.decode(as_record(effect), 1, bytes(16)))
    assert live.open == replayed.open == oracle(effects)


@given(EFFECTS, EFFECTS)
def test_a_checkpoint_anywhere_changes_nothing(before: list[Effect], after: list[Effect]) -> None:
    first, second = Handshakes(), Handshakes()
    for effect in before:
        first.apply(effect)
    second.restore(first.checkpoint())
    for effect in after:
        second.apply(effect)
    assert second.open == oracle(before + after)


def test_documents_of_qos_2_open_one_and_other_records_none() -> None:
    folded = Handshakes()
    context = record.encode_context("dev-1", "", "")
    for kind, flags in ((record.DOCUMENT, 2), (record.DOCUMENT, 0), (record.MESSAGE, 1), (record.EVENT, 2)):
        folded.replay(
            record.decode(record.encode(kind, flags, kind * 10 + flags, 0, 0, context, b"", b""), 1, bytes(16))
        )
    assert folded.open == {"dev-1": {record.DOCUMENT * 10 + 2}}


SMALL = LogSettings(max_bytes=4096 * KIB, segment_bytes=64 * KIB)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EFFECTS, min_size=1, max_size=4), st.integers(100, 6000))
def test_through_segments_and_restarts_the_log_gives_back_what_is_open(
    tmp_path_factory: pytest.TempPathFactory, lives: list[list[Effect]], payload_bytes: int
) -> None:
    directory = tmp_path_factory.mktemp("lane")
    done: list[Effect] = []
    for effects in lives:
        folded = Handshakes()
        lane = Lane(directory, SMALL, folded)
        try:
            assert folded.open == oracle(done)
            append_all(lane, effects, payload_bytes)
        finally:
            lane.writer.close()
        done += effects
        assert folded.open == oracle(done)
    last = Handshakes()
    Lane(directory, SMALL, last).writer.close()
    assert last.open == oracle(done)


def append_all(lane: Lane, effects: list[Effect], payload_bytes: int) -> None:
    """Every effect with its record, each in a commit of its own or with its neighbours, as it comes."""
    for number, effect in enumerate(effects):
        lane.wait(lambda: not lane.writer.full)
        lane.writer.append(as_record(effect, bytes(payload_bytes)), effect=effect)
        if number % 3 == 0:
            lane.writer.kick()
    lane.writer.kick()


def test_a_hand_shake_opened_in_a_segment_long_gone_is_remembered(tmp_path: Path) -> None:
    first = Handshakes()
    lane = Lane(tmp_path, SMALL, first)
    append_all(lane, [Opened("dev-1", 7), Opened("dev-2", 1)], 10)
    append_all(lane, [Released("dev-3", 1)] + [Opened("dev-2", 1)] * 60, 8000)
    lane.wait(lambda: lane.writer.committed == lane.writer.next_seq)
    lane.writer.forwarded(lane.writer.committed)
    lane.wait(lambda: len(lane.segments()) == 1)
    lane.writer.close()
    again = Handshakes()
    Lane(tmp_path, SMALL, again).writer.close()
    assert again.open == {"dev-1": {7}, "dev-2": {1}}
