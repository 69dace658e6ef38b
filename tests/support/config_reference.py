"""The table of every setting in docs/configuration.md, from the structs of `bridge.config` and their docstrings.

`python -m tests.support.config_reference` writes it anew; a test compares.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from bridge import config, config_access, config_downlink, config_limits, config_queue, config_sparkplug
from bridge.config_file.shape import bounds, unit_of, unwrapped
from bridge.units import format_duration, format_rate, format_size

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
BEGIN, END = "<!-- begin: written by ./dev docs -->\n", "<!-- end -->\n"
_KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path"}


def reference() -> str:
    """Return the reference in Markdown: a heading and a table for each section."""
    meanings = _meanings()
    return "\n".join(_section(name, cls, meanings) for name, cls in _sections(config.Config, ""))


def _sections(cls: type[Any], prefix: str) -> Iterator[tuple[str, type[Any]]]:
    hints = get_type_hints(cls, include_extras=True)
    for field in msgspec.structs.fields(cls):
        hint, _ = unwrapped(hints[field.name])
        name, suffix = prefix + field.name, ""
        if get_origin(hint) is tuple:
            hint, suffix = get_args(hint)[0], "[]"
        elif get_origin(hint) is dict:
            hint, suffix = get_args(hint)[1], ".NAME"
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield name + suffix, hint
            yield from _sections(hint, name + suffix.removesuffix("[]") + ".")


def _section(name: str, cls: type[Any], meanings: dict[tuple[str, str], str]) -> str:
    header = f"[[{name.removesuffix('[]')}]]" if name.endswith("[]") else f"[{name}]"
    lines = [
        f"### `{header}`",
        "",
        inspect.getdoc(cls) or "",
        "",
        "| key | value | default | |",
        "| --- | --- | --- | --- |",
    ]
    hints = get_type_hints(cls, include_extras=True)
    for field in msgspec.structs.fields(cls):
        meaning = meanings.get((cls.__name__, field.name), "")
        kind, default = _kind(hints[field.name]), _default(field, hints[field.name])
        lines.append(f"| `{field.name}` | {kind} | {default} | {meaning} |")
    return "\n".join([*lines, ""])


def _kind(hint: Any) -> str:
    hint, notes = unwrapped(hint)
    if get_origin(hint) is Literal:
        return ", ".join(f'`"{choice}"`' for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return f"array, each {_kind(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return "tables by name"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return "table"
    kind = {"address": "HOST:PORT"}.get(unit_of(notes), unit_of(notes)) or _KINDS[hint]
    return kind + ("" if bounds(notes) in (", at least 1 B", ", more than 0 s", ", at least 1 B/s") else bounds(notes))


def _default(field: msgspec.structs.FieldInfo, hint: Any) -> str:
    if field.required:
        return "**required**"
    value, (_, notes) = field.default, unwrapped(hint)
    if value is None or field.default_factory is dict:
        return "none"
    if isinstance(value, msgspec.Struct):
        return "see its section"
    if unit_of(notes) == "size":
        return f'`"{format_size(value)}"`'
    if unit_of(notes) == "rate":
        return f'`"{format_rate(value)}"`'
    if unit_of(notes) == "duration":
        return f'`"{format_duration(value)}"`'
    return f"`{_toml(value)}`"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str | Path) else str(value)


def _meanings() -> dict[tuple[str, str], str]:
    """Return the docstring below each field, by class and field: only the source has them."""
    found: dict[tuple[str, str], str] = {}
    parts = (config, config_access, config_downlink, config_limits, config_queue, config_sparkplug)
    for cls in ast.parse("".join(map(inspect.getsource, parts))).body:
        if isinstance(cls, ast.ClassDef):
            for field, text in zip(cls.body, cls.body[1:], strict=False):
                match field, text:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                        found[cls.name, name] = " ".join(meaning.split()).replace("|", r"\|")
    return found


def rewrite(text: str) -> str:
    """Return a document with the reference in it as it is now."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{reference()}\n{END}{tail}"


def main() -> None:
    """Write the reference into docs/configuration.md."""
    DOCUMENT.write_text(rewrite(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
