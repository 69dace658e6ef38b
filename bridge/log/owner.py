"""The owner: which gateway a log belongs to, so that a copied data directory is noticed before it does harm.

Two gateways on copies of one queue have the same log id and give the same sequence numbers to different messages. Kafka
fences two with the same gateway id; two with different ones it cannot tell from each other, so this does.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Final

from bridge.durable import replace_file
from bridge.log.errors import LogError

_log = logging.getLogger(__name__)

NAME: Final = "GATEWAY"
MACHINE_ID: Final = Path("/etc/machine-id")
_PURPOSE: Final = b"busbridge data directory"


class ForeignLog(LogError):
    """The log is another gateway's: a person must decide."""


def claim(directory: Path, gateway: str, renamed_from: str | None, machine_id: Path = MACHINE_ID) -> None:
    """Says that the log in `directory` is `gateway`'s; what another machine wrote is only worth a warning.

    Raises:
        ForeignLog: it is another gateway's, and not that of `renamed_from`.
        OSError: it can neither be read nor written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    owner, machine = _load(directory / NAME)
    here = _machine(machine_id)
    if owner not in ("", gateway, renamed_from):
        raise ForeignLog(
            f'{directory} holds the queue of gateway "{owner}", and this is "{gateway}": if it is a copy, give this '
            "gateway a data_dir of its own, for two on copies of one queue would give different messages the same "
            "numbers; "
            f'if "{owner}" was renamed and will never run again, say so with gateway.renamed_from = "{owner}"'
        )
    if machine and here and machine != here:
        _log.warning(
            "%s was last used on another machine: that is well if it was moved; if it was copied, the other machine "
            "must never start on its copy again",
            directory,
        )
    if (owner, machine) != (gateway, here or machine):
        replace_file(directory / NAME, f"{gateway}\n{here or machine}\n".encode())


def _load(path: Path) -> tuple[str, str]:
    """The gateway and the machine that were written down; empty where nobody did, or it is garbled."""
    try:
        owner, machine, *_ = [*path.read_text().splitlines(), "", ""]
    except (FileNotFoundError, UnicodeDecodeError):
        return "", ""
    return owner, machine


def _machine(path: Path) -> str:
    """A digest of this machine's id, which itself is not to be shown (machine-id(5)); empty where it has none."""
    try:
        text = path.read_bytes().strip()
    except OSError:
        return ""
    return hashlib.blake2s(_PURPOSE, key=text[:32], digest_size=16).hexdigest() if text else ""
