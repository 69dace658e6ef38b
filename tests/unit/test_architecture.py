"""The house's rules, read from the source with `ast`: which way imports point, what stays pure, how long things get.

Each rule is a function from a module to its offences, and each is shown an offender that it must catch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MAY_IMPORT = {
    "__main__": {"cli"},
    "cli": {
        "device_side",
        "bus_side",
        "admin",
        "log",
        "mqtt",
        "security",
        "config_file",
        "journal",
        "routing",
        "row",
        "schemas",
        "sparkplug",
        "message",
    },
    "device_side": {
        "admin",
        "log",
        "mqtt",
        "security",
        "config_file",
        "journal",
        "routing",
        "row",
        "schemas",
        "sparkplug",
        "message",
    },
    "bus_side": {"log", "mqtt", "security", "config_file", "journal", "routing", "message"},
    "admin": {"log", "security", "row"},
    "log": {"message"},
    "mqtt": {"message"},
    "security": {"message"},
    "config_file": {"mqtt", "sparkplug"},
    "journal": set(),
    "routing": set(),
    "row": set(),
    "schemas": {"message"},
    "sparkplug": set(),
    "message": set(),
}
"""What each part of `bridge` may import from the other parts; all may import the leaves."""
LEAVES = {
    "config", "config_access", "config_downlink", "config_limits", "config_queue", "config_sparkplug", "quantities",
    "units", "address", "credentials", "device_filter", "durable", "groups", "orders", "belief",
}  # fmt: skip
"""They import nothing from `bridge`, but `config` its parts."""

PURE = re.compile(
    r"bridge/(mqtt/.*|message|belief|device_filter|groups|orders|row|config|config_access|config_downlink|config_limits|config_queue|config_sparkplug|quantities|units|address|config_file/(errors|lines|shape|rules|route_rules)"
    r"|security/(acl|device_seal|envelope|recipient)|log/record|routing|bus_side/(forms|cloud_event|desired|commands|sketch)|schemas/wire_format|schemas/schema|sparkplug/.*|device_side/(arrival|command|desired|documents|trace_context))\.py"
)
IMPURE = {"asyncio", "socket", "ssl", "os", "time", "random", "secrets", "threading", "subprocess", "select", "uvloop"}
"""Time, randomness and the outside world are arguments of a pure module."""

MARKS = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "Not" + "ImplementedError")
"""Words for what is not done; in two halves so that this file does not accuse itself."""

FILE_LINES_MAX, FUNCTION_LINES_MAX = 500, 60


class Module:
    """One source file: where it stands in the checkout and what it says."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.tree = ast.parse(text)

    @property
    def part(self) -> str:
        """The part of `bridge` it belongs to; empty for what is not in `bridge`."""
        parts = self.path.removesuffix(".py").split("/")
        return parts[1] if parts[0] == "bridge" else ""

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """Line and full name of everything that is imported, wherever in the module that happens."""
        found: list[tuple[int, str]] = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                package = "." * node.level + (node.module or "")
                found += [(node.lineno, f"{package}.{alias.name}") for alias in node.names]
        return found

    def bridge_imports(self) -> Iterator[tuple[int, str]]:
        """Yield line and name, without `bridge.`, of what is imported from `bridge`."""
        for line, name in self.imports:
            if name.startswith("bridge."):
                yield line, name.removeprefix("bridge.")


Rule = Callable[[Module], Iterator[str]]


def imports_point_one_way(module: Module) -> Iterator[str]:
    if not module.part or module.path == "bridge/__init__.py":
        return
    if module.part not in MAY_IMPORT.keys() | LEAVES:
        yield f"{module.path}: bridge.{module.part} has no place in the layers; give it one in MAY_IMPORT"
        return
    allowed = {module.part} if module.part in LEAVES else {module.part, *MAY_IMPORT[module.part], *LEAVES}
    if module.part == "config":
        allowed |= {
            "config_access",
            "config_downlink",
            "config_limits",
            "config_queue",
            "config_sparkplug",
            "quantities",
        }
    if module.part in ("config_access", "config_downlink", "config_limits", "config_queue", "config_sparkplug"):
        allowed |= {"quantities"}
    for line, name in module.bridge_imports():
        if name.split(".")[0] not in allowed:
            yield f"{module.path}:{line}: bridge.{module.part} imports bridge.{name}"


def pure_modules_stay_pure(module: Module) -> Iterator[str]:
    if not PURE.fullmatch(module.path):
        return
    for line, name in module.imports:
        if name.split(".")[0] in IMPURE:
            yield f"{module.path}:{line}: a pure module imports {name}"


def pure_modules_import_pure_modules(module: Module) -> Iterator[str]:
    if not PURE.fullmatch(module.path):
        return
    for line, name in module.bridge_imports():
        places = [f"bridge/{'/'.join(name.split('.')[:depth])}.py" for depth in (1, 2)]
        packages = [place.replace(".py", "/__init__.py") for place in places]
        if not any(PURE.fullmatch(place) for place in (*places, packages[0])):
            yield f"{module.path}:{line}: a pure module imports bridge.{name}, which is not"


def imports_are_absolute(module: Module) -> Iterator[str]:
    for line, name in module.imports:
        if name.startswith("."):
            yield f"{module.path}:{line}: {name} is a relative import, which the other rules cannot read"


def the_fleet_is_a_stranger(module: Module) -> Iterator[str]:
    if not module.path.startswith("firmware_sim/"):
        return
    for line, name in module.bridge_imports():
        if name.split(".")[0] not in {"mqtt", "security"}:
            yield f"{module.path}:{line}: firmware_sim imports bridge.{name}"


def files_are_short(module: Module) -> Iterator[str]:
    lines = module.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{module.path}: {lines} lines, {FILE_LINES_MAX} at most"


def functions_are_short(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{module.path}:{node.lineno}: {node.name} has {lines} lines, {FUNCTION_LINES_MAX} at most"


def only_commands_print(module: Module) -> Iterator[str]:
    if not module.part or module.part == "cli":
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{module.path}:{node.lineno}: prints; only bridge.cli does"


def nothing_happens_at_import(module: Module) -> Iterator[str]:
    for node in module.tree.body:
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
            yield f"{module.path}:{node.lineno}: has an effect at import"
        if isinstance(node, ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith):
            yield f"{module.path}:{node.lineno}: a module's level only defines"


def there_are_no_globals(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Global):
            yield f"{module.path}:{node.lineno}: global {', '.join(node.names)}"


def every_module_says_what_it_is(module: Module) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield f"{module.path}: has no docstring"


def nothing_is_left_for_later(module: Module) -> Iterator[str]:
    for number, line in enumerate(module.text.splitlines(), 1):
        yield from (f"{module.path}:{number}: {mark}" for mark in MARKS if re.search(rf"\b{mark}\b", line))


OFFENDERS: list[tuple[Rule, str, str]] = [
    (imports_point_one_way, "bridge/device_side/a.py", "from bridge.bus_side import forwarder"),
    (imports_point_one_way, "bridge/device_side/a.py", "import bridge.bus_side.forwarder"),
    (imports_point_one_way, "bridge/bus_side/a.py", "def f():\n    from bridge.device_side.broker import Broker"),
    (imports_point_one_way, "bridge/log/a.py", "from bridge import mqtt"),
    (imports_point_one_way, "bridge/mqtt/a.py", "from bridge.security import acl"),
    (imports_point_one_way, "bridge/security/a.py", "from bridge.log.record import Record"),
    (imports_point_one_way, "bridge/log/a.py", "from bridge.device_side import broker"),
    (imports_point_one_way, "bridge/message.py", "from bridge.mqtt import topics"),
    (imports_point_one_way, "bridge/config.py", "from bridge.message import Message"),
    (imports_point_one_way, "bridge/novelty/a.py", "x = 1"),
    (pure_modules_stay_pure, "bridge/mqtt/a.py", "import asyncio"),
    (pure_modules_stay_pure, "bridge/mqtt/deep/a.py", "import os.path"),
    (pure_modules_stay_pure, "bridge/security/acl.py", "from time import monotonic"),
    (pure_modules_stay_pure, "bridge/log/record.py", "def f():\n    import socket"),
    (pure_modules_import_pure_modules, "bridge/security/acl.py", "from bridge.security.tls import explain"),
    (pure_modules_import_pure_modules, "bridge/routing.py", "from bridge import config_file"),
    (imports_are_absolute, "bridge/mqtt/a.py", "from . import wire"),
    (the_fleet_is_a_stranger, "firmware_sim/a.py", "from bridge.log import record"),
    (files_are_short, "bridge/cli/a.py", "x = 1\n" * 501),
    (functions_are_short, "bridge/cli/a.py", "class A:\n  async def f(self):\n" + "    x = 1\n" * 60),
    (only_commands_print, "bridge/log/a.py", "def f():\n    print(1)"),
    (nothing_happens_at_import, "bridge/log/a.py", "import signal\nsignal.alarm(5)"),
    (nothing_happens_at_import, "bridge/log/a.py", "for x in range(3):\n    y = x"),
    (there_are_no_globals, "bridge/log/a.py", "def f():\n    global x\n    x = 1"),
    (every_module_says_what_it_is, "bridge/log/a.py", "x = 1"),
    (nothing_is_left_for_later, "bridge/log/a.py", f"x = 1  # {MARKS[0]}: more"),
    (nothing_is_left_for_later, "bridge/log/a.py", f"def f():\n    raise {MARKS[-1]}"),
]
INNOCENTS: list[tuple[Rule, str, str]] = [
    (imports_point_one_way, "bridge/device_side/a.py", "from bridge import config\nfrom bridge.log import record"),
    (imports_point_one_way, "bridge/cli/a.py", "from bridge.bus_side import main"),
    (pure_modules_stay_pure, "bridge/log/writer.py", "import os, threading"),
    (pure_modules_import_pure_modules, "bridge/mqtt/a.py", "from bridge.mqtt.wire import x\nfrom bridge import config"),
    (the_fleet_is_a_stranger, "firmware_sim/a.py", "from bridge.security import envelope"),
    (functions_are_short, "bridge/cli/a.py", "def f():\n" + "    x = 1\n" * 59),
    (only_commands_print, "bridge/cli/a.py", "print(1)"),
    (nothing_happens_at_import, "bridge/log/a.py", '"""Doc."""\nx = frozenset()\nif x:\n    y = 1'),
]
SOURCE_RULES: list[Rule] = list(dict.fromkeys(rule for rule, _, _ in OFFENDERS))
RULES_FOR_TESTS: list[Rule] = [files_are_short, functions_are_short, nothing_is_left_for_later]


def modules(*folders: str) -> list[Module]:
    """Return the modules in some folders of the checkout."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [Module(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


def named(rule: object) -> str:
    return getattr(rule, "__name__", "")


@pytest.mark.parametrize("rule", SOURCE_RULES, ids=named)
def test_the_source_keeps(rule: Rule) -> None:
    found = modules("bridge", "firmware_sim")
    assert len(found) > 10
    assert [offence for module in found for offence in rule(module)] == []


@pytest.mark.parametrize("rule", RULES_FOR_TESTS, ids=named)
def test_the_tests_keep(rule: Rule) -> None:
    assert [offence for module in modules("tests") for offence in rule(module)] == []


@pytest.mark.parametrize(("rule", "path", "text"), OFFENDERS, ids=named)
def test_an_offender_is_caught(rule: Rule, path: str, text: str) -> None:
    assert len(list(rule(Module(path, text)))) == 1


@pytest.mark.parametrize(("rule", "path", "text"), INNOCENTS, ids=named)
def test_an_innocent_is_not(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Module(path, text))) == []
