"""A real CA on disk, another one, and the server settings that trust the first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge import config
from bridge.security.ca_directory import CaDirectory


@dataclass(frozen=True)
class Site:
    """Our CA, a stranger's, and where device files go."""

    ours: CaDirectory
    theirs: CaDirectory
    devices: Path

    def tls(self, **changes: object) -> config.Tls:
        """Return the listener's settings."""
        directory = self.ours.directory
        files = {
            "certificate": directory / "server.pem",
            "private_key": directory / "server.key",
            "client_ca": directory / "ca.pem",
            "crl": directory / "crl.pem",
        }
        return config.Tls(**{**files, **changes})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    ours = CaDirectory.create(tmp_path / "ours", "our CA")
    theirs = CaDirectory.create(tmp_path / "theirs", "their CA")
    return Site(ours, theirs, tmp_path / "devices")
