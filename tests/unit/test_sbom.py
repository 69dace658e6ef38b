"""`./dev sbom`: what a gateway consists of, all of it and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.sbom import LOCK, ROOT, document, pins


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("sbom") / "busbridge.cdx.json"
    subprocess.run([sys.executable, "-m", "tests.support.sbom", file], cwd=ROOT, check=True)
    return json.loads(file.read_text())


def test_it_lists_every_locked_package_with_its_version_and_hashes(written: dict[str, Any]) -> None:
    lock = LOCK.read_text()
    names = re.findall(r"^(\S+)==(\S+)", lock, re.MULTILINE)
    assert [(each["name"], each["version"]) for each in written["components"]] == names
    assert {"cryptography", "aiokafka", "uvloop"} <= {name for name, _ in names}
    listed = [each["content"] for component in written["components"] for each in component["hashes"]]
    assert listed == re.findall(r"sha256:([0-9a-f]{64})", lock)


def test_it_says_what_needs_what_and_under_which_licence(written: dict[str, Any]) -> None:
    assert (written["bomFormat"], written["specVersion"]) == ("CycloneDX", "1.6")
    root = written["metadata"]["component"]["bom-ref"]
    needs = {each["ref"]: each["dependsOn"] for each in written["dependencies"]}
    refs = {component["bom-ref"] for component in written["components"]}
    assert set(needs) == {root, *refs}
    assert {on for each in needs.values() for on in each} <= refs
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(needs[root]) == len(project["dependencies"])
    (cryptography,) = [each for each in written["components"] if each["name"] == "cryptography"]
    assert cryptography["licenses"] == [{"expression": "Apache-2.0 OR BSD-3-Clause"}]
    assert any(each.startswith("pkg:pypi/cffi@") for each in needs[cryptography["bom-ref"]])


def test_the_same_lock_gives_the_same_document_and_another_one_another_number(written: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = LOCK.read_text()
    assert document(lock, project) == written
    assert document(lock + "\n", project)["serialNumber"] != written["serialNumber"]


def test_a_pin_with_a_marker() -> None:
    (pin,) = pins(f"# made\nCff_i==2.1 ; sys_platform != 'win32' \\\n    --hash=sha256:{'0' * 64}\n")
    assert (pin.purl, pin.marker, pin.hashes) == ("pkg:pypi/cff-i@2.1", "sys_platform != 'win32'", ("0" * 64,))
    assert Path(LOCK).name == "requirements.lock"
