"""The line locator against tomllib: whatever tomllib found has a line, and it is the right one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config_file.errors import KeyPath
from bridge.config_file.lines import locate

NASTY = '''# a comment with [brackets] and = signs
top = "a # no comment"
"quoted key" = 'x]'   # [not.a.table]
dotted.key."with = sign" = 1

[table]
text = """
[looks.like] = a table
\\""" still in it """""
literal = \'\'\'
key = "no key"\'\'\'
after = 1979-05-27T07:32:00Z

[table.sub]   # comment
array = [ # comment ]
  "one", # two
  { a = 1, b = "}" },
  [
    2,
  ],
]

[[items]]
name = "first"
inline = { x = [1, {y = 2}], "z" = {} }

[[items]]
name = "second"
[items.sub]
deep = true
[[items.sub.deeper]]
leaf = 0x1F
'''


def paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the way to every value tomllib found."""
    pairs: Iterator[tuple[str | int, object]] = iter(())
    if isinstance(value, dict):
        pairs = iter(value.items())
    elif isinstance(value, list):
        pairs = iter(enumerate(value))
    for key, item in pairs:
        yield (*path, key)
        yield from paths(item, (*path, key))


def test_whatever_tomllib_finds_has_a_line() -> None:
    missing = set(paths(tomllib.loads(NASTY))) - locate(NASTY).keys()
    assert missing == set()


@pytest.mark.parametrize(
    ("path", "snippet"),
    [
        (("top",), "top ="),
        (("quoted key",), '"quoted key"'),
        (("dotted", "key", "with = sign"), "dotted.key"),
        (("table",), "[table]"),
        (("table", "text"), "text ="),
        (("table", "literal"), "literal ="),
        (("table", "after"), "after ="),
        (("table", "sub"), "[table.sub]"),
        (("table", "sub", "array", 0), '"one"'),
        (("table", "sub", "array", 1, "b"), "{ a = 1"),
        (("table", "sub", "array", 2), "  ["),
        (("table", "sub", "array", 2, 0), "    2"),
        (("items", 0, "name"), '"first"'),
        (("items", 0, "inline", "x", 1, "y"), "inline ="),
        (("items", 1, "name"), '"second"'),
        (("items", 1, "sub", "deep"), "deep ="),
        (("items", 1, "sub", "deeper", 0, "leaf"), "leaf ="),
    ],
)
def test_the_line_is_the_one_it_stands_on(path: KeyPath, snippet: str) -> None:
    line = locate(NASTY)[path]
    assert NASTY.split("\n")[line - 1].startswith(snippet) or snippet in NASTY.split("\n")[line - 1]


def test_windows_line_ends_count_once() -> None:
    assert locate("a = 1\r\n\r\n[t]\r\nb = 2\r\n") == {("a",): 1, ("t",): 3, ("t", "b"): 4}


KEYS = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
VALUES = st.sampled_from(
    ["1", "true", '"#"', "'='", '"""\n[x]\n"""', "[\n1,\n[2], # c\n]", '{ k = "}", l = [1] }', "1.5e3"]
)


@given(st.dictionaries(KEYS, VALUES, min_size=1), st.dictionaries(KEYS, VALUES))
def test_keys_are_found_where_they_were_written(first: dict[str, str], second: dict[str, str]) -> None:
    text = ""
    expected: dict[KeyPath, int] = {}
    for header, table in (("a-table", first), ("b-table", second)):
        expected[(header,)] = text.count("\n") + 1
        text += f"[{header}]\n"
        for key, value in table.items():
            expected[(header, key)] = text.count("\n") + 1
            text += f"{key} = {value}  # comment\n"
    found = locate(text)
    assert {path: found[path] for path in expected} == expected
    assert set(paths(tomllib.loads(text))) <= found.keys()
