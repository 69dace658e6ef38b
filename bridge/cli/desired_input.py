"""The desired state as a command is given it: an argument, a file or standard input, checked as gateways will."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from bridge.cli.failure import USAGE, Failure, plainly
from bridge.config import State


def read_object(text: str | None, file: Path | None, name: str) -> dict[str, Any]:
    """The JSON object in `text`, or in `file` (`-`: standard input). Raises Failure: what is wrong, and where."""
    if file is None:
        where, data = name, (text or "").encode()
    elif str(file) == "-":
        where, data = "standard input", sys.stdin.buffer.read()
    else:
        with plainly():
            where, data = str(file), file.read_bytes()
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(f"{where} is no JSON object: {error}", USAGE) from error


def encoded(state: dict[str, Any], version: int, bounds: State) -> bytes:
    """The value of the record. Raises Failure: a gateway would skip it."""
    from bridge.device_side.documents import depth

    value = msgspec.json.encode({"version": version, "state": state})
    if depth(state) > bounds.depth_max:
        raise Failure(f"the state is nested deeper than {bounds.depth_max} levels (state.depth_max)", USAGE)
    if len(value) > bounds.document_max_bytes:
        raise Failure(
            f"the state has {len(value)} bytes, more than {bounds.document_max_bytes} (state.document_max_bytes)", USAGE
        )
    return value
