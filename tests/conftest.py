"""What all tests share: how long hypothesis may think on a busy machine, and how much it tries.

HYPOTHESIS_PROFILE=thorough: twenty times as many examples, for the machines that look for what nobody thought of.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("here", deadline=None)  # two shared cores make wall time say nothing about the code
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)  # a red run can be had again
settings.register_profile("thorough", deadline=None, max_examples=4000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "here"))
