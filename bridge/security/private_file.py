"""Files that are secrets: who may read them."""

from __future__ import annotations

import stat
from pathlib import Path

_OTHERS = stat.S_IRWXO


class PublicSecret(PermissionError):
    """A secret that every user of this machine may read or change: it has to be taken for known."""


def refuse_if_public(path: Path) -> None:
    """Return if only its owner, and perhaps a group, may get at `path`.

    Raises:
        PublicSecret: everybody may; says what to do.
        OSError: it is not there.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        raise PublicSecret(
            f"{path} is a secret that every user of this machine can get at (mode {mode:04o}); chmod 600"
        )
