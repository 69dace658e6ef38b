"""RegistryStore: the registry's answers on disk, so that neither an outage nor a restart needs it.

A schema never changes under its id; which one is a subject's latest does, and what stands here is the last one known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from bridge.schemas.registry_client import Registered

_Kept = TypeVar("_Kept", Registered, int)


class RegistryStore:
    """A directory for one registry."""

    def __init__(self, directory: Path, url: str, replace: Callable[[Path, bytes], None]) -> None:
        """Args:
        directory: of all registries.
        url: of this one.
        replace: writes a file, durably and whole.
        """
        self._directory = directory / hashlib.sha256(url.encode()).hexdigest()[:16]
        self._replace = replace

    def schema(self, schema_id: int) -> Registered | None:
        """What was kept; None where there is nothing, or nothing that can be read."""
        return self._read(f"id-{schema_id}.json", Registered)

    def latest(self, subject: str) -> int | None:
        """The id that was the subject's latest when it was last asked for."""
        return self._read(_subject_file(subject), int)

    def keep(self, schema: Registered) -> None:
        """Raises OSError."""
        self._write(f"id-{schema.id}.json", msgspec.json.encode(schema))

    def keep_latest(self, subject: str, schema_id: int) -> None:
        """Raises OSError."""
        self._write(_subject_file(subject), msgspec.json.encode(schema_id))

    def _read(self, name: str, kind: type[_Kept]) -> _Kept | None:
        try:
            return msgspec.json.decode((self._directory / name).read_bytes(), type=kind)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _write(self, name: str, data: bytes) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._replace(self._directory / name, data)


def _subject_file(subject: str) -> str:
    """Subjects are any text; a hash is a name for a file."""
    return f"subject-{hashlib.sha256(subject.encode()).hexdigest()[:32]}.json"
