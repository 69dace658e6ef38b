"""What is desired of a device, or commanded, told to the daemon on this machine, which brings it to Kafka."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from bridge.cli.failure import FAILED, USAGE, Failure
from bridge.cli.local import request

WAIT_MAX_S = 60.0
_SLACK_S = 10.0
_LINGER_S = 15.0
"""How long after the deadline an outcome may be on its way."""


def desire_locally(
    directory: Path,
    device: str,
    wanted: dict[str, Any] | None,
    *,
    patch: bool,
    version: int | None,
    if_version: int | None,
    patience_s: float,
) -> dict[str, Any]:
    """What came of it, as docs/operations.md has it under "Devices over HTTP". Raises Failure: nothing."""
    if patch and version is not None:
        raise Failure("with --local a patch makes the next version: leave --version out", USAGE)
    body: dict[str, Any] | None = wanted
    if wanted is not None and not patch:
        body = {"state": wanted} | ({"version": version} if version is not None else {})
    method = "DELETE" if wanted is None else "PATCH" if patch else "PUT"
    headers = {"If-Match": f'"{if_version}"'} if if_version is not None else {}
    return _told(directory, method, device, "desired", body, headers, patience_s)


def send_locally(directory: Path, device: str, name: str, payload: object, qos: int, deadline_s: float) -> bytes:
    """The final outcome, as its record has it. `payload`: UNSET for none. Raises Failure: there is none yet."""
    deadline = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=deadline_s)
    order: dict[str, Any] = {"name": name, "qos": qos, "deadline": deadline.isoformat(timespec="milliseconds")}
    if payload is not msgspec.UNSET:
        order["payload"] = payload
    said = _told(directory, "POST", device, "commands", order, {}, min(deadline_s + _LINGER_S, WAIT_MAX_S))
    if said["outcome"] == "kept":
        raise Failure(f"command {said['id']}: no outcome came yet; it is on its way by Kafka, and waits for {device}")
    return msgspec.json.encode(said)


def _told(
    directory: Path,
    method: str,
    device: str,
    what: str,
    body: dict[str, Any] | None,
    headers: dict[str, str],
    patience_s: float,
) -> dict[str, Any]:
    if patience_s > WAIT_MAX_S:
        raise Failure(f"the daemon lets nobody wait for more than {WAIT_MAX_S:g} s", USAGE)
    path = f"/devices/{quote(device, safe='')}/{what}?wait={round(patience_s)}"
    data = msgspec.json.encode(body) if body is not None else None
    status, answer = request(directory, method, path, data, headers, patience_s + _SLACK_S)
    try:
        said = msgspec.json.decode(answer, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = {"error": f"it answers with status {status}"}
    if status >= 400:
        raise Failure(f"the gateway on {directory}: {said.get('error', status)}", FAILED)
    return said
