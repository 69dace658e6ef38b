"""The clocks."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from bridge.device_side.clock import Clock, rfc3339

YEAR_2200_NS = 7_258_118_400 * 1_000_000_000


@given(st.integers(0, YEAR_2200_NS))
@example(0)
@example(999_999)
@example(1_999_999_999)
@example(1_700_000_000_123_999_999)
def test_rfc_3339_cuts_off_at_the_millisecond_and_never_rounds_up(wall_ns: int) -> None:
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    day = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    assert rfc3339(wall_ns) == f"{day:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def test_the_clocks_are_those_of_this_machine() -> None:
    clock = Clock()
    assert abs(clock.wall_ns() - time.time_ns()) < 1_000_000_000
    assert abs(clock.mono_ns() - time.monotonic_ns()) < 1_000_000_000
    assert clock.boot_id.hex() == Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    assert clock.synchronised() == clock.synchronised()
    assert clock.instant()[:4] == str(datetime.datetime.now(datetime.UTC).year)
