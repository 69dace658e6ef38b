"""Secrets come from files: the one that was named, or the credential of its name that systemd hands over.

Nothing here keeps, logs or prints a secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


class SecretError(Exception):
    """A secret that cannot be read; the text says where it was looked for, never what was found."""


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
    """Return what stands in a secret's file, without the line's end. Raises SecretError."""
    place = secret_path(path, environ)
    try:
        text = place.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise SecretError(f"the secret in {place} cannot be read: {reason}") from None
    if not text:
        raise SecretError(f"the secret in {place} is empty")
    return text
