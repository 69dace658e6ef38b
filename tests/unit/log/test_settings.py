"""The bounds of a lane come from the configuration and fit each other."""

from __future__ import annotations

import pytest

from bridge.config import GIB, KIB, MIB, Downlink, Lane, Queue
from bridge.config_file import rules
from bridge.log.commit import record_max_bytes
from bridge.log.segment import PAGE_BYTES
from bridge.log.settings import SEGMENTS_MIN, LogSettings


def test_a_lane_is_as_the_queue_unless_it_says_otherwise() -> None:
    queue = Queue(max_bytes=GIB, segment_bytes=8 * MIB, free_space_floor=5 * MIB)
    assert LogSettings.for_lane(queue) == LogSettings.for_lane(queue, Lane())
    assert LogSettings.for_lane(queue).segment_bytes == 8 * MIB
    own = LogSettings.for_lane(queue, Lane(max_bytes=100 * MIB, segment_bytes=MIB))
    assert (own.max_bytes, own.segment_bytes, own.free_space_floor) == (100 * MIB, MIB, 5 * MIB)


def test_the_downlink_has_bounds_of_its_own() -> None:
    settings = LogSettings.for_downlink(Downlink(max_bytes=64 * MIB, segment_bytes=2 * MIB), Queue())
    assert (settings.max_bytes, settings.segment_bytes) == (64 * MIB, 2 * MIB)


def test_segments_shrink_to_fit_a_small_bound() -> None:
    settings = LogSettings(max_bytes=10 * MIB + 5, segment_bytes=16 * MIB)
    assert settings.segment_bytes <= 10 * MIB // 4
    assert settings.segment_bytes % 4096 == 0


@pytest.mark.parametrize("sizes", [{"max_bytes": 1000}, {"segment_bytes": 4096}])
def test_a_bound_too_small_for_a_log_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="too small"):
        LogSettings(**sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize("packet_bytes", [64, 64 * KIB, MIB, 5 * MIB + 1])
def test_the_least_that_the_configuration_may_say_takes_the_largest_message(packet_bytes: int) -> None:
    least = rules.segment_least(packet_bytes)
    settings = LogSettings.for_lane(Queue(max_bytes=rules.SEGMENTS_MIN * least, segment_bytes=least))
    assert record_max_bytes(settings) >= packet_bytes + rules.RECORD_OVERHEAD
    assert (rules.SEGMENTS_MIN, rules.SEGMENT_OVERHEAD) == (SEGMENTS_MIN, 3 * PAGE_BYTES)
