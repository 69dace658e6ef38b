"""Writes what a gateway consists of as a CycloneDX 1.6 document: `./dev sbom [FILE]`.

From requirements.lock, so it lists what `pip install --require-hashes` puts on a gateway, with the hashes of the files
that it accepts; licences and who needs whom from the installed packages' own metadata. The same lock gives the same
document.

Not here: the operating system's parts (Python, libc), what wheels carry inside (OpenSSL in `cryptography`'s), and known
weaknesses: for these there are scanners that read this document.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\\n]+?))? \\$", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_LICENCE_CHARS_MAX = 80
"""Some packages have the whole text of their licence in that field."""


@dataclass(frozen=True)
class Pin:
    """One package of the lock."""

    name: str
    version: str
    marker: str | None
    """Where it is installed; None: everywhere."""
    hashes: tuple[str, ...]
    """SHA-256 of each of its files that may be installed."""

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{canonicalize_name(self.name)}@{self.version}"


def pins(lock: str) -> list[Pin]:
    """The packages of a lock's text, in its order."""
    found = list(_PIN.finditer(lock))
    ends = [each.start() for each in found[1:]] + [len(lock)]
    return [
        Pin(each["name"], each["version"], each["marker"], tuple(_HASH.findall(lock, each.end(), end)))
        for each, end in zip(found, ends, strict=True)
    ]


def document(lock: str, project: dict[str, Any]) -> dict[str, Any]:
    """The whole document; `project` is the table of pyproject.toml."""
    locked = pins(lock)
    by_name = {canonicalize_name(pin.name): pin for pin in locked}
    root = f"pkg:pypi/{project['name']}@{project['version']}"
    needs = {root: needed(project["dependencies"], by_name)}
    needs |= {pin.purl: needed(requirements(pin.name), by_name) for pin in locked}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, root + lock)}",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "pre-build"}],
            "component": {
                "type": "application", "bom-ref": root, "name": project["name"], "version": project["version"],
                "description": project["description"], "licenses": [{"license": {"id": project["license"]}}],
                "purl": root,
            },
        },
        "components": [component(pin) for pin in locked],
        "dependencies": [{"ref": ref, "dependsOn": on} for ref, on in needs.items()],
    }  # fmt: skip


def component(pin: Pin) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": pin.purl,
        "name": pin.name,
        "version": pin.version,
        "hashes": [{"alg": "SHA-256", "content": each} for each in pin.hashes],
        "purl": pin.purl,
    }
    if licences := list(licence(pin.name)):
        made["licenses"] = licences
    if pin.marker is not None:
        made["properties"] = [{"name": "busbridge:installed-where", "value": pin.marker}]
    return made


def licence(name: str) -> Iterator[dict[str, Any]]:
    """As the installed package says it; nothing where it is not installed here, or does not say."""
    try:
        told = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return
    expression, text = told.get("License-Expression"), told.get("License")
    if expression:
        yield {"expression": expression}
    elif text and len(text) <= _LICENCE_CHARS_MAX:
        yield {"license": {"name": text}}
    else:
        for each in told.get_all("Classifier") or []:
            if each.startswith("License :: OSI Approved :: "):
                yield {"license": {"name": each.rsplit(" :: ", 1)[1]}}


def requirements(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


def needed(requirements: Sequence[str], by_name: dict[str, Pin]) -> list[str]:
    """Of these requirements the ones that the lock holds."""
    read = [Requirement(each) for each in requirements]
    wanted = [each for each in read if each.marker is None or each.marker.evaluate({"extra": ""})]
    return sorted({by_name[name].purl for each in wanted if (name := canonicalize_name(each.name)) in by_name})


def main(arguments: Sequence[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = json.dumps(document(LOCK.read_text(), project), indent=2, ensure_ascii=False) + "\n"
    if arguments:
        Path(arguments[0]).write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
