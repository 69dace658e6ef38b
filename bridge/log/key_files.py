"""The files of queue keys: 64 hexadecimal digits, for their owner alone, or a credential that systemd hands over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from bridge.config import Queue
from bridge.credentials import SecretError, secret
from bridge.log.errors import LogError
from bridge.log.queue_key import KEY_BYTES, Keyring, QueueKey


class KeyUnusable(LogError):
    """A key's file cannot be used; says which and why, never what is in it."""


def keys_of(queue: Queue, environ: Mapping[str, str]) -> Keyring:
    """The keys that `[queue]` names; without `encrypt` they only open what was written before.

    Raises:
        KeyUnusable: one of the files cannot be used.
    """
    key = load_key(queue.encrypt_key_file, environ) if queue.encrypt_key_file is not None else None
    old = load_keys(queue.encrypt_old_key_files, environ)
    return Keyring(key if queue.encrypt else None, [*old, *([key] if key is not None else [])])


def load_keys(paths: Iterable[Path], environ: Mapping[str, str]) -> list[QueueKey]:
    """As `load_key`, each."""
    return [load_key(path, environ) for path in paths]


def load_key(path: Path, environ: Mapping[str, str]) -> QueueKey:
    """The key in the file, or in the credential of its name.

    Raises:
        KeyUnusable: it cannot be read, is no key, or anybody may read it.
    """
    try:
        return QueueKey(bytes.fromhex(secret(path, environ)))
    except SecretError as error:
        raise KeyUnusable(str(error)) from None
    except ValueError:
        raise KeyUnusable(
            f"{path} is no queue key: it should be {2 * KEY_BYTES} hexadecimal digits (openssl rand -hex {KEY_BYTES})"
        ) from None
