"""What the tests of the engine share."""

from __future__ import annotations

import pytest


@pytest.fixture(params=[4, 5], ids=["3.1.1", "5"])
def version(request: pytest.FixtureRequest) -> int:
    """Both versions of the protocol."""
    level: int = request.param
    return level
