"""The configuration file: TOML in, one frozen `Config` or every error at once out.

It opens no other file than the one it is given: whether certificates exist and fit is `busbridge check`'s question.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from bridge.config import Config
from bridge.config_file.errors import ConfigError, ConfigErrors, Finding, KeyPath, dotted
from bridge.config_file.lines import locate
from bridge.config_file.rules import broken_rules, second_thoughts
from bridge.config_file.shape import Shaper

__all__ = ["ConfigError", "ConfigErrors", "load", "parse", "warnings"]

_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def load(path: Path) -> Config:
    """Return what the file at `path` says. Raises ConfigErrors, also when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigErrors([ConfigError(str(path), 0, "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigErrors([ConfigError(str(path), 0, "", f"is not UTF-8 at byte {error.start}")]) from None
    return parse(text, base=path.absolute().parent, name=str(path), environ=os.environ)


def parse(text: str, *, base: Path, name: str, environ: Mapping[str, str] | None = None) -> Config:
    """Return what `text` says. Raises ConfigErrors with every error in it.

    Relative paths are taken from `base`; `name` is the file's name in errors; `${NAME}` is looked up in `environ`.
    """
    document = _document(text, name)
    shaper = Shaper(base, environ or {})
    config: Config = shaper.struct(Config, document, ())
    wrong = [path for finding in shaper.findings for path in (finding.path, *finding.needs)]
    findings = [*shaper.findings, *(f for f in broken_rules(config) if not _rests_on(f, wrong))]
    if findings:
        raise ConfigErrors(_placed(findings, text, name))
    return config


def warnings(config: Config) -> list[str]:
    """Return what a valid configuration probably does not mean, a sentence each."""
    return [f"{dotted(finding.path)}: {finding.problem}" for finding in second_thoughts(config)]


def _document(text: str, name: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _TOML_PLACE.search(message)
        line = int(place[1]) if place and place[1] else text.count("\n") + 1
        problem = message[: place.start()] if place else message
        raise ConfigErrors([ConfigError(name, line, "", f"not TOML: {problem}")]) from None


def _rests_on(finding: Finding, wrong: Collection[KeyPath]) -> bool:
    """Say whether a finding judges something that is wrong already, and so may be mistaken."""
    entry = finding.path[:2]
    return any(path[:2] == entry[: len(path)] or path in finding.needs for path in wrong)


def _placed(findings: Iterable[Finding], text: str, name: str) -> list[ConfigError]:
    lines = locate(text)
    return [
        ConfigError(name, _line(finding.path, lines), dotted(finding.path), finding.problem, finding.allowed)
        for finding in findings
    ]


def _line(path: KeyPath, lines: Mapping[KeyPath, int]) -> int:
    """Return the line of the longest part of `path` that stands in the file."""
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), 1)
