"""The users file and its hashes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from bridge.security.users import Users, UsersError, hashed, put_user, read_users

PASSWORD = b"correct horse"
PHC = hashed(PASSWORD)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_password_is_verified_and_only_that(tmp_path: Path) -> None:
    users = Users(read_users(write(tmp_path / "users", f"# panels\n\npanel-1:{PHC}\nurn:x:2:{hashed(b'other')}\n")))
    assert users.verified("panel-1", PASSWORD) == PHC
    assert users.verified("urn:x:2", b"other") == users.hash_of("urn:x:2") != PHC
    assert [users.verified("panel-1", wrong) for wrong in (b"", b"other", PASSWORD + b"\0")] == [None] * 3
    assert (users.verified("nobody", PASSWORD), users.hash_of("nobody")) == (None, None)
    users.take({})
    assert users.verified("panel-1", PASSWORD) is None


def test_hashes_are_those_of_the_reference_implementation() -> None:
    """`argon2-cffi` binds it."""
    assert PasswordHasher().verify(PHC, PASSWORD)
    theirs = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash("another")
    assert Users({"u": theirs}).verified("u", b"another") == theirs
    assert hashed(PASSWORD) != PHC, "the salt is another each time"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("panel-1", "users:1: the device id is empty"),
        (f"a/b:{PHC}", "users:1: the device id 'a/b' has characters outside"),
        ("panel-1:secret", "users:1: panel-1 has no Argon2id hash"),
        (f"panel-1:{PHC.replace('argon2id', 'argon2i')}", "no Argon2id hash"),
        (f"panel-1:{PHC.replace('m=19456', 'm=9999999')}", "would take over 256 MiB"),
        (f"p:{PHC}\np:{PHC}", "users:2: p is there already"),
    ],
)
def test_what_is_wrong_is_said_and_no_hash_with_it(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UsersError) as caught:
        read_users(write(tmp_path / "users", line))
    assert said in str(caught.value)
    assert PHC[-20:] not in str(caught.value)


def test_a_file_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "users", f"p:{PHC}\n")
    path.chmod(0o644)
    with pytest.raises(UsersError, match="chmod 600"):
        read_users(path)
    with pytest.raises(UsersError, match="No such file"):
        read_users(tmp_path / "none")


def test_a_user_is_put_into_the_file_or_gets_another_password(tmp_path: Path) -> None:
    path, other = tmp_path / "users", hashed(b"other one")
    assert put_user(path, "p", PHC) is False
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(f"# of site 7\n{path.read_text()}q:{PHC}\n")
    path.chmod(0o640)
    assert put_user(path, "p", other) is True
    assert path.read_text() == f"# of site 7\nq:{PHC}\np:{other}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
