"""Tables for people, JSON for scripts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

_GAP = "  "


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], *, as_json: bool) -> None:
    """Print rows as a table, or as one JSON array of objects keyed by column name."""
    if as_json:
        objects = [dict(zip(columns, row, strict=True)) for row in rows]
        print(msgspec.json.encode(objects).decode())
        return
    for line in table_lines(columns, rows):
        print(line)


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table's lines: as wide as what stands in it, and quick for tens of thousands of rows."""
    table = [[column.replace("_", " ") for column in columns], *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
        yield _GAP.join(cells).rstrip()


def printable(text: str) -> str:
    """Return what others have written so that it does nothing to a terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


@contextmanager
def until_the_reader_goes() -> Iterator[None]:
    """As other filters do: `… | head` is no error, of which anything would be said."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _width(text: str) -> int:
    """Columns of a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
