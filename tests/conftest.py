"""What all tests share: how long hypothesis may think on a busy machine."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("here", deadline=None)  # two shared cores make wall time say nothing about the code
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)  # a red run can be had again
settings.load_profile("ci" if os.environ.get("CI") else "here")
