"""The admin side's token: from a file or a systemd credential, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.admin.token import Token
from bridge.credentials import SecretError

VALUE = "0123456789abcdef" * 2


def written(path: Path, text: str = VALUE, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_credential_of_the_file_s_name_serves(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    written(tmp_path / "credentials" / "admin.token", mode=0o400)
    token = Token(tmp_path / "nowhere" / "admin.token", {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})
    assert token.lets_in(f"Bearer {VALUE}")
    assert token.lets_in(f"bearer  {VALUE}")


@pytest.mark.parametrize(
    ("text", "mode", "word"),
    [
        (VALUE, 0o604, "every user"),
        (VALUE[:31], 0o600, "less than 32"),
        ("", 0o600, "empty"),
        (None, 0, "cannot be read"),
    ],
    ids=["public", "short", "empty", "none"],
)
def test_what_is_no_token_is_said_without_it(tmp_path: Path, text: str | None, mode: int, word: str) -> None:
    path = tmp_path / "token"
    if text is not None:
        written(path, text, mode)
    with pytest.raises(SecretError, match=word) as error:
        Token(path, {})
    assert VALUE[:31] not in str(error.value)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    return Token(written(tmp_path_factory.mktemp("token") / "token"), {})


@given(
    given_header=st.text(max_size=50)
    | st.sampled_from([f"Bearer {VALUE}x", f"Basic {VALUE}", VALUE, "Bearer", "Bearer "])
)
def test_nothing_else_lets_anybody_in(token: Token, given_header: str) -> None:
    assert not token.lets_in(given_header)
