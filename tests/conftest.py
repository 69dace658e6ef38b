"""What all tests share: how long hypothesis may think on a busy machine, and how much it tries (tests/README.md)."""

from __future__ import annotations

import os

from hypothesis import settings

from tests.support.effort import EFFORT

EXAMPLES = 100 * EFFORT
# Two shared cores make wall time say nothing about the code.
settings.register_profile("here", deadline=None, max_examples=EXAMPLES)
# A red run can be had again.
settings.register_profile("ci", deadline=None, max_examples=EXAMPLES, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
