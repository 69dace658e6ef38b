"""Labels of devices, the groups that they make, and the keys that both have in the downlink topics. Pure.

A group is `all` (every device), or KEY=VALUE: those that have this label.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

LABELS: Final = "labels/"
"""What the key of a device's labels begins with; the device's id follows."""
GROUPS: Final = "group/"
"""What the key of a group's record begins with; the group's name follows."""
ALL: Final = "all"
PART_MAX: Final = 63
"""Characters of a label's key and of its value."""
_PART = re.compile(rf"[A-Za-z0-9._:@-]{{1,{PART_MAX}}}")
_WHAT = f"1 to {PART_MAX} of A-Z a-z 0-9 . _ : @ -"


class BadLabels(ValueError):
    """What cannot be labels, or a group's name; the text says why."""


def check_labels(labels: Mapping[str, str], most: int) -> None:
    """Raises BadLabels: more than `most`, or a key or value that cannot be one."""
    if len(labels) > most:
        raise BadLabels(f"there are {len(labels)} labels, more than {most}")
    for key, value in labels.items():
        if not _PART.fullmatch(key):
            raise BadLabels(f"the label's key {_short(key)} is not {_WHAT}")
        if not _PART.fullmatch(value):
            raise BadLabels(f"the value {_short(value)} of the label {key} is not {_WHAT}")


def check_group(name: str) -> None:
    """Raises BadLabels: a group cannot have this name."""
    key, equals, value = name.partition("=")
    if name == ALL:
        return
    if not equals:
        raise BadLabels(f"the group {_short(name)} is neither {ALL!r} nor KEY=VALUE")
    check_labels({key: value}, 1)


def is_member(labels: Mapping[str, str], name: str) -> bool:
    """Whether a device with these labels is in the group."""
    if name == ALL:
        return True
    key, _, value = name.partition("=")
    return labels.get(key) == value


def by_rank(name: str) -> tuple[bool, str]:
    """Sorts groups: what is said to a later one counts more. `all` is the first, the others go by their names."""
    return name != ALL, name


def _short(text: str) -> str:
    return repr(text if len(text) <= PART_MAX else f"{text[:PART_MAX]}…")
