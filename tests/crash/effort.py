"""How long the crash tests go on: CRASH_EFFORT=30 makes them thirty times as thorough as in every run.

`CRASH_EFFORT=30 ./dev test --timeout=0 tests/crash` takes hours.
"""

from __future__ import annotations

import os

EFFORT = int(os.environ.get("CRASH_EFFORT", "1"))
