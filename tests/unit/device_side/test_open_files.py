"""Connections never take the files that the queue needs."""

from __future__ import annotations

import resource

import pytest

from bridge.config import Limits
from bridge.device_side.open_files import KEPT_BACK, fitting, raise_limit


def test_enough_files_change_nothing() -> None:
    assert fitting(Limits(connections=1000, half_open=100), 65_536) == Limits(connections=1000, half_open=100)


@pytest.mark.parametrize("files", [64, 1024, 4096, 20_000])
def test_what_does_not_fit_is_left_out_and_said(files: int, caplog: pytest.LogCaptureFixture) -> None:
    limits = fitting(Limits(), files)
    assert limits.connections >= 1
    assert limits.half_open >= 1
    assert limits.connections + limits.half_open <= max(files - KEPT_BACK, 2)
    assert "LimitNOFILE" in caplog.text


def test_the_soft_limit_becomes_the_hard_one() -> None:
    assert raise_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
