"""Tables for people, JSON for scripts."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec

WIDTH_WITHOUT_TERMINAL = 200
"""Columns of a table that goes into a file or a pipe, so that nothing in it is cut."""


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], *, as_json: bool) -> None:
    """Print rows as a table, or as one JSON array of objects keyed by column name."""
    if as_json:
        objects = [dict(zip(columns, row, strict=True)) for row in rows]
        print(msgspec.json.encode(objects).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*(column.replace("_", " ") for column in columns), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL, markup=False, highlight=False).print(table)
