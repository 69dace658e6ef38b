"""What the journal sees: one line an event, for people and for grep, or a JSON object a line.

Under systemd a line carries its priority (sd-daemon(3)) and leaves the time to the journal.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys

from bridge.config import Log

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_ROOT = "bridge."


def set_up(settings: Log, process: str) -> None:
    """Sends every log record of this process to stderr.

    Args:
        settings: format and level.
        process: `device` or `bus`, the side that speaks.
    """
    handler = logging.StreamHandler(sys.stderr)
    if settings.format == "json":
        handler.setFormatter(_Json(process))
    else:
        handler.setFormatter(_Text(process, journal="JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _part(record: logging.LogRecord) -> str:
    return record.name.removeprefix(_ROOT).split(".")[-1]


class _Text(logging.Formatter):
    def __init__(self, process: str, *, journal: bool) -> None:
        super().__init__()
        self._process = process
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = f"{record.levelname.lower()} {self._process}/{_part(record)}: {_on_one_line(record.getMessage())}"
        if record.exc_info:
            # Indented, so that no line of an error's text can pass for an event of its own.
            text += "".join("\n    " + _on_one_line(line) for line in self.formatException(record.exc_info).split("\n"))
        if not self._journal:
            return f"{_time(record)} {text}"
        prefix = f"<{_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in text.split("\n"))


class _Json(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "part": _part(record),
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def _on_one_line(text: str) -> str:
    """A device chooses some of the words in a message: it must not be able to write a line of its own."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
