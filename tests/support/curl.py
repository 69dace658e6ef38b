"""curl, an HTTP client that we did not write, asked for one answer."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: Any
    """Of JSON what it says, of anything else the text."""
    challenge: str
    """WWW-Authenticate."""
    etag: str


def curl(
    url: str, *words: str, token: str | None = None, socket: Path | None = None, body: bytes | None = None
) -> Answer:
    """Asks once; `socket`: through it, whatever host the address names."""
    command = ["curl", "--silent", "--show-error", "--globoff", "--include", "--max-time", "60", *words, url]
    command += ["--header", f"Authorization: Bearer {token}"] if token is not None else []
    command += ["--unix-socket", str(socket)] if socket is not None else []
    command += ["--data-binary", "@-"] if body is not None else []
    text = subprocess.run(command, input=body or b"", capture_output=True, check=True).stdout.decode()
    head, _, rest = text.partition("\r\n\r\n")
    while head.startswith("HTTP/1.1 100"):
        head, _, rest = rest.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    try:
        said = json.loads(rest)
    except json.JSONDecodeError:
        said = rest
    return Answer(int(first.split()[1]), said, headers.get("www-authenticate", ""), headers.get("etag", ""))
