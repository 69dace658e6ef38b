"""Report: what `/status` says."""

from __future__ import annotations

import msgspec

from bridge.admin.health import Verdict
from bridge.admin.status import Status


class Report(msgspec.Struct):
    """What `/status` answers: the status, and what it amounts to."""

    verdict: Verdict
    status: Status
