"""The example configurations load, and the reference names every setting with the default that the program has."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from bridge import config_file
from tests.support.config_reference import DOCUMENT, reference, rewrite

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads_without_a_second_thought(path: Path) -> None:
    config = config_file.load(path)
    assert config.gateway.id
    assert config_file.warnings(config) == []


def test_the_site_example_has_every_section() -> None:
    document = tomllib.loads((ROOT / "configs" / "site.toml").read_text())
    assert set(msgspec.structs.asdict(config_file.load(ROOT / "configs" / "site.toml"))) - set(document) == {"jsonl"}


def test_an_example_is_what_its_name_says() -> None:
    configs = {path.stem: config_file.load(path) for path in EXAMPLES}
    assert configs["plain-broker"].lane_names() == ()
    assert configs["jsonl"].kafka is None
    assert configs["minimal"].kafka is not None
    assert configs["site"].lane_names() == ("alarm", "normal", "state")


def test_the_reference_is_what_the_program_says() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert rewrite(text) == text, "the settings have changed since; write the reference anew with: ./dev docs"


def test_every_setting_is_in_the_reference() -> None:
    text = reference()
    assert "### `[[listeners]]`" in text
    assert "### `[queue.commit]`" in text
    assert '| `max_bytes` | size | `"8 GiB"` |' in text
    assert text.count("| key |") == text.count("### ")
