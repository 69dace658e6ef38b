"""Secrets come from files: the one that was named, or the credential of its name that systemd hands over.

What every user of the machine may read is no secret and is not used. Nothing here keeps, logs or prints a secret.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path


class SecretError(Exception):
    """A secret that cannot be used; the text says where it was looked for, never what was found."""


class PublicSecret(PermissionError):
    """A secret that every user of this machine may read or change: it has to be taken for known."""


def refuse_if_public(path: Path) -> None:
    """Return if only its owner, and perhaps a group, may get at `path`.

    Raises:
        PublicSecret: everybody may; says what to do.
        OSError: it is not there.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & stat.S_IRWXO:
        raise PublicSecret(
            f"{path} is a secret that every user of this machine can get at (mode {mode:04o}); chmod 600"
        )


def secret_path(path: Path, environ: Mapping[str, str]) -> Path:
    """Return `path`, or where systemd put the credential of that name (systemd.exec(5), LoadCredential=).

    The file that was named wins if it can be read: LoadCredential= often names the same file, which the service's own
    account then cannot read. Where neither can, it is `path` that comes back.
    """
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory or os.access(path, os.R_OK):
        return path
    credential = Path(directory) / path.name
    return credential if os.access(credential, os.R_OK) else path


def secret(path: Path, environ: Mapping[str, str]) -> str:
    """Return what stands in a secret's file, without the line's end.

    Raises:
        SecretError: it cannot be read, is empty, or everybody may read it.
    """
    place = secret_path(path, environ)
    try:
        refuse_if_public(place)
        text = place.read_text(encoding="utf-8").rstrip("\r\n")
    except PublicSecret as error:
        raise SecretError(str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise SecretError(f"the secret in {place} cannot be read: {reason}") from None
    if not text:
        raise SecretError(f"the secret in {place} is empty")
    return text
