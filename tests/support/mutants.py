"""Whether the marks are true: breaks one thing at a time in a copy of the tree and runs the tests marked for it.

    ./dev run -- python -m tests.support.mutants [part of a file's name or a statement's number ...]

Each mutant names the statements of MQTT 5 that it breaks. Of each of them at least one marked test has to fail; unit
tests are tried first and those that start a daemon only where no unit test saw it. A mutant whose place is gone is
said and counts as one that survived. It takes minutes and is no part of `./dev test`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.support.conformance import ROOT, marks
from tests.support.mutant_list import Mutant, mutants

_COPIED = ("bridge", "firmware_sim", "tests", "pyproject.toml")
_PATIENCE_S = 300.0


class Verdict(NamedTuple):
    """What came of one mutant."""

    survived: list[str]
    """Statements none of whose tests saw it."""
    unmoved: list[str]
    """Tests that were run and did not see it: marked for something else in the statement, or marked wrongly."""


def copy_tree(to: Path) -> None:
    """What the tests need, without caches."""
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(source, to / name)


def failures(tree: Path, tests: list[str]) -> set[str]:
    """Those of `tests` (PATH::NAME) that fail, with whatever parameters; RuntimeError where they cannot be read."""
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "--tb=no", *tests]
    environment = {"PYTHONPATH": str(tree), "PATH": "/usr/sbin:/usr/bin:/bin:/usr/local/bin"}
    try:
        run = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return set(tests)
    if run.returncode not in (0, 1):
        raise RuntimeError(run.stdout[-2000:] + run.stderr[-2000:])
    return set(re.findall(r"^(?:FAILED|ERROR) (\S+?::\w+)", run.stdout, re.MULTILINE))


def judge(tree: Path, mutant: Mutant, by_statement: dict[str, list[str]]) -> Verdict:
    """Runs the marked tests against the mutant; the tree is as before afterwards."""
    path = tree / mutant.path
    whole = path.read_text()
    if whole.count(mutant.old) != 1:
        return Verdict([f"(its place in {mutant.path} is gone)"], [])
    path.write_text(whole.replace(mutant.old, mutant.new))
    failed: set[str] = set()
    tried: set[str] = set()
    try:
        for part in ("tests/unit/", "tests/interop/"):
            open_ones = [each for each in mutant.statements if not failed & set(by_statement[each])]
            tests = sorted({test for each in open_ones for test in by_statement[each] if test.startswith(part)} - tried)
            if tests:
                failed |= failures(tree, tests)
                tried |= set(tests)
    finally:
        path.write_text(whole)
    survived = [each for each in mutant.statements if not failed & set(by_statement[each])]
    return Verdict(survived, sorted(tried - failed))


def main(wanted: list[str]) -> int:
    """Prints a line for each mutant; 1 where one survived."""
    chosen = [each for each in mutants() if not wanted or any(part in str(each) for part in wanted)]
    by_statement, survivors = marks().mqtt5, 0
    statements: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        tree = Path(name)
        copy_tree(tree)
        for mutant in chosen:
            verdict = judge(tree, mutant, by_statement)
            survivors += bool(verdict.survived)
            statements |= set(mutant.statements) - set(verdict.survived)
            print(
                "SURVIVED" if verdict.survived else "seen",
                mutant.path,
                mutant.new.strip()[:70] or "(nothing)",
                *verdict.survived,
            )
            for test in verdict.unmoved:
                print("    not seen by", test)
            sys.stdout.flush()
    print(f"{len(chosen)} mutants, {survivors} survived; {len(statements)} statements seen to be held")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
