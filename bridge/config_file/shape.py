"""From what TOML says to the structs of `bridge.config`, by their type hints; says everything that does not fit.

It looks at one value at a time. What has to fit together is judged in `rules`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from bridge.address import AddressError, split_address
from bridge.config_file.errors import Finding, KeyPath
from bridge.units import (
    DURATIONS,
    RATES,
    SIZES,
    UnitError,
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
)

_VARIABLE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "size": f'a text with a unit ({", ".join(reversed([*SIZES]))}), like "16 MiB"',
        "duration": f'a text with a unit ({", ".join(reversed([*DURATIONS]))}), like "30 s"',
        "rate": f'a text with a unit ({", ".join(f"{unit}/s" for unit in reversed([*RATES]))}), like "500 KB/s"',
        "address": '"HOST:PORT", an IPv6 host in brackets',
    }
)
_TOML_NAMES: Final[Mapping[type, str]] = MappingProxyType(
    {str: "a text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path, as a text"}
)


class Shaper:
    """Builds one document's structs and collects what is wrong with it; a wrong value is replaced by a harmless one."""

    def __init__(self, base: Path, environ: Mapping[str, str]) -> None:
        self._base = base
        self._environ = environ
        self.findings: list[Finding] = []

    def struct(self, cls: type[Any], table: Mapping[str, object], path: KeyPath) -> Any:
        """Return an instance of the struct `cls` from a TOML table."""
        hints = get_type_hints(cls, include_extras=True)
        self.findings += [_unknown(path, key, tuple(hints)) for key in table if key not in hints]
        values: dict[str, object] = {}
        for field in msgspec.structs.fields(cls):
            if field.name in table:
                values[field.name] = self.value(hints[field.name], table[field.name], (*path, field.name))
            elif field.required:
                self._report((*path, field.name), "is missing", describe(hints[field.name]))
                values[field.name] = _harmless(hints[field.name])
        return cls(**values)

    def value(self, hint: Any, raw: object, path: KeyPath) -> object:
        """Return `raw` as the type `hint`."""
        hint, notes = unwrapped(hint)
        if isinstance(raw, str):
            expanded = self._expanded(raw, path)
            if expanded is None:
                return _harmless(hint)
            return self._scalar(hint, notes, expanded, path, shown=raw)
        origin = get_origin(hint)
        if isinstance(raw, dict) and isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            return self.struct(hint, raw, path)
        if isinstance(raw, dict) and origin is dict:
            return {key: self.value(get_args(hint)[1], item, (*path, key)) for key, item in raw.items()}
        if isinstance(raw, list) and origin is tuple:
            return tuple(self.value(get_args(hint)[0], item, (*path, index)) for index, item in enumerate(raw))
        return self._scalar(hint, notes, raw, path, shown=raw)

    def _scalar(self, hint: Any, notes: tuple[object, ...], raw: object, path: KeyPath, *, shown: object) -> object:
        try:
            value = self._converted(hint, notes, raw)
            _within(notes, value)
        except (UnitError, AddressError, _Unfit) as error:
            reason = f" is {error}" if isinstance(error, _Unfit) else f": {error}"
            self._report(path, f"{_shown(shown)}{reason}", _described(hint, notes))
            return _harmless(hint)
        return value

    def _converted(self, hint: Any, notes: tuple[object, ...], raw: object) -> object:
        if get_origin(hint) is Literal:
            if raw not in get_args(hint):
                raise _Unfit("not one of the choices")
            return raw
        if isinstance(raw, str) and (converter := self._of_text(hint, notes)):
            return converter(raw)
        if hint is float and type(raw) is int and not unit_of(notes):
            return float(raw)
        if type(raw) is not hint or unit_of(notes):
            raise _Unfit("of the wrong kind")
        return raw

    def _of_text(self, hint: Any, notes: tuple[object, ...]) -> Callable[[str], object] | None:
        converters: dict[str, Callable[[str], object]] = {
            "size": parse_size,
            "duration": parse_duration,
            "rate": parse_rate,
            "address": _address,
        }
        if hint is Path:
            return self._path
        return converters.get(unit_of(notes))

    def _path(self, text: str) -> Path:
        if not text or "\0" in text:
            raise _Unfit("not a path")
        return self._base / text

    def _expanded(self, text: str, path: KeyPath) -> str | None:
        """Return `text` with each `${NAME}` replaced from the environment and `$$` by a dollar sign."""
        names = [name for name in _VARIABLE.findall(text) if name]
        missing = [name for name in names if name not in self._environ]
        for name in missing:
            self._report(path, f"the environment variable {name} is not set", "${NAME} of a variable that is; $$ for $")
        if missing:
            return None
        return _VARIABLE.sub(lambda match: self._environ[match[1]] if match[1] else "$", text)

    def _report(self, path: KeyPath, problem: str, allowed: str) -> None:
        self.findings.append(Finding(path, problem, allowed))


class _Unfit(ValueError):
    """A value that the file gives and the setting does not take; the text follows "is"."""


def describe(hint: Any) -> str:
    """Return in words what may be written for a setting of the type `hint`."""
    return _described(*unwrapped(hint))


def _described(hint: Any, notes: tuple[object, ...]) -> str:
    if unit := unit_of(notes):
        return _UNITS[unit] + bounds(notes)
    match get_origin(hint):
        case origin if origin is Literal:
            return ", ".join(f'"{choice}"' for choice in get_args(hint))
        case origin if origin is tuple:
            return f"an array, each {describe(get_args(hint)[0])}"
        case origin if origin is dict:
            return "a table of tables"
    if issubclass(hint, msgspec.Struct):
        return f"a table with {', '.join(hint.__struct_fields__)}"
    return _TOML_NAMES[hint] + bounds(notes)


def unwrapped(hint: Any) -> tuple[Any, tuple[object, ...]]:
    """Return the type without `| None` and `Annotated`, and the annotations."""
    notes: tuple[object, ...] = ()
    while True:
        if get_origin(hint) is Annotated:
            notes += hint.__metadata__
            hint = get_args(hint)[0]
        elif get_origin(hint) in (Union, UnionType):
            hint = next(part for part in get_args(hint) if part is not NoneType)
        else:
            return hint, notes


def unit_of(notes: tuple[object, ...]) -> str:
    """Return what kind of quantity a type's annotations make it: `size`, `duration`, `rate`, `address`; "" for none."""
    return next((note for note in notes if isinstance(note, str)), "")


def _within(notes: tuple[object, ...], value: object) -> None:
    for note in notes:
        if isinstance(note, msgspec.Meta) and isinstance(value, int | float):
            too_low = (note.ge is not None and value < note.ge) or (note.gt is not None and value <= note.gt)
            if too_low or (note.le is not None and value > note.le):
                raise _Unfit("out of range")


def bounds(notes: tuple[object, ...]) -> str:
    """Return the limits that a type's annotations set, as `, at least 1`; "" for none."""
    formats: dict[str, Callable[[Any], str]] = {
        "size": format_size,
        "duration": format_duration,
        "rate": format_rate,
    }
    show = formats.get(unit_of(notes), str)
    metas = [note for note in notes if isinstance(note, msgspec.Meta)]
    signs = {"ge": "at least", "gt": "more than", "le": "at most"}
    limits = [(sign, getattr(meta, name)) for meta in metas[-1:] for name, sign in signs.items()]
    words = [f"{sign} {show(limit)}" for sign, limit in limits if limit is not None]
    return ", " + " and ".join(words) if words else ""


def _unknown(path: KeyPath, key: str, known: tuple[str, ...]) -> Finding:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not near:
        return Finding((*path, key), "unknown key", ", ".join(known))
    return Finding((*path, key), f'unknown key; did you mean "{near[0]}"?', needs=((*path, near[0]),))


def _address(text: str) -> str:
    split_address(text)
    return text


def _shown(raw: object) -> str:
    """Return a value of the file for a message; texts as they stand there, so never what a variable held."""
    match raw:
        case bool():
            return str(raw).lower()
        case str():
            return f'"{raw}"' if len(raw) <= 60 else f'"{raw[:57]}..."'
        case dict():
            return "a table"
        case list():
            return "an array"
    return str(raw)


def _harmless(hint: Any) -> Any:
    """Return a value that lets the other rules look at the rest of a document that is wrong here."""
    hint, _ = unwrapped(hint)
    origin = get_origin(hint)
    if origin is Literal:
        return get_args(hint)[0]
    if origin in (tuple, dict):
        return origin()
    if issubclass(hint, msgspec.Struct):
        hints = get_type_hints(hint, include_extras=True)
        return hint(**{field.name: _harmless(hints[field.name]) for field in msgspec.structs.fields(hint)})
    return hint()
