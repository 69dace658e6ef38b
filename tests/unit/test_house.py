"""What a stranger finds in the checkout: scripts that run, pins that hold, links that lead somewhere."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = (ROOT / "dev", ROOT / ".ci" / "run")
LOCKS = sorted(ROOT.glob("requirements*.lock"))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = ("bridge", "firmware_sim", "tests", "configs", "systemd", "certs", "docs", ".ci")
PRIVATE = re.compile(
    "/wo" + r"rk/|/ro" + r"ot/\.|pypi" + r"\.org|pythonhosted" + r"\.org|maven" + r"\.org|/sim" + "ple/"
)
"""Machine paths and addresses of registries, in two halves so that this file does not accuse itself."""


def texts() -> Iterator[tuple[Path, str]]:
    """Yield every text of the project with its path; not what the environment and the caches hold."""
    top = [path for path in ROOT.iterdir() if path.is_file() and path.name not in (".git", ".coverage")]
    deep = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in (*top, *deep):
        if "__pycache__" not in path.parts:
            yield path, path.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_can_be_run(script: Path) -> None:
    assert script.stat().st_mode & 0o111 == 0o111
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_dev_lists_every_command_that_it_has() -> None:
    listed = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True, check=True).stdout
    has = re.findall(r"^        ([a-z]+)\)", (ROOT / "dev").read_text(), re.MULTILINE)
    assert has == re.findall(r"^\./dev ([a-z]+)", listed, re.MULTILINE)


def test_dev_says_what_it_does_not_know() -> None:
    done = subprocess.run([ROOT / "dev", "dmeo"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "unknown command: dmeo" in done.stderr


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_pin_has_its_hashes(lock: Path) -> None:
    pins = re.split(r"\n(?=[a-z])", lock.read_text())[1:]
    assert len(pins) > 10
    assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin] == []


def test_the_locks_have_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        "requirements.lock": project["dependencies"],
        "requirements-demo.lock": project["dependencies"] + extras["demo"],
        "requirements-dev.lock": project["dependencies"] + extras["demo"] + extras["dev"],
    }
    for name, requirements in wanted.items():
        pinned = re.findall(r"^([a-z0-9-]+)==", (ROOT / name).read_text(), re.MULTILINE)
        names = {re.split(r"[\[><=!~ ]", requirement)[0] for requirement in requirements} - {"busbridge"}
        assert names <= set(pinned), f"{name}: run ./dev lock"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8"))
    files = [link for link in links if "://" not in link]
    assert [link for link in files if not (document.parent / link).exists()] == []


def test_nothing_names_a_machine_or_a_registry() -> None:
    found = {str(path.relative_to(ROOT)): match[0] for path, text in texts() if (match := PRIVATE.search(text))}
    assert found == {}
