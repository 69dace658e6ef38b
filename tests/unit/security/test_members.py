"""The members file of the ACL's roles."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config import Acl
from bridge.config_access import Role
from bridge.security.members import MembersError, read_members


def rules(file: Path | None) -> Acl:
    return Acl(roles={"operator": Role(), "Field Ops": Role()}, members_file=file)


def test_it_names_the_devices_of_each_role(tmp_path: Path) -> None:
    file = tmp_path / "members.toml"
    file.write_text('# shift A\noperator = ["dev-1", "dev-2"]\n"Field Ops" = []\n')
    assert read_members(rules(file)) == {"operator": {"dev-1", "dev-2"}, "Field Ops": set()}
    assert (dict(read_members(rules(None))), dict(read_members(None))) == ({}, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('operators = ["dev-1"]', r"there is no \[acl\.roles\.operators\]"),
        ('operator = "dev-1"', "operator is no array of device ids"),
        ("operator = [1]", "operator is no array of device ids"),
        ('operator = ["dev/1"]', "has characters outside"),
        ("operator = [", "members.toml: "),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "members.toml"
    file.write_text(text)
    with pytest.raises(MembersError, match=said):
        read_members(rules(file))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MembersError, match=r"gone\.toml: No such file"):
        read_members(rules(tmp_path / "gone.toml"))
