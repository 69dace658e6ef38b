"""Recipients' key files."""

from __future__ import annotations

import pytest

from bridge.security import keys
from bridge.security.recipient import MLKEM768_X25519, X25519


@pytest.mark.parametrize(("post_quantum", "kem", "size"), [(False, X25519, 32), (True, MLKEM768_X25519, 1216)])
def test_a_pair_belongs_together(tmp_path, post_quantum, kem, size):
    public_path, private_path = keys.new("data-team", tmp_path / "keys", post_quantum)
    public, private = keys.load_public(public_path), keys.load_private(private_path)
    assert (public.kem, len(public.raw)) == (kem, size)
    assert private.public == public
    assert private.unwrap(public.wrap(b"content key", b"info"), b"info") == b"content key"


def test_the_files_explain_themselves_and_the_private_one_is_private(tmp_path):
    public_path, private_path = keys.new("data-team", tmp_path)
    key_id = keys.load_public(public_path).id.hex()
    assert public_path.read_text().startswith("# busbridge recipient data-team: public key (X25519), id " + key_id)
    assert private_path.read_text().startswith("# busbridge recipient data-team: PRIVATE key (X25519), id " + key_id)
    assert private_path.stat().st_mode & 0o777 == 0o600
    assert public_path.stat().st_mode & 0o777 == 0o644


def test_a_key_is_never_overwritten(tmp_path):
    public_path, private_path = keys.new("a", tmp_path)
    before = private_path.read_text()
    public_path.unlink()
    with pytest.raises(keys.KeyFileError, match=r"a\.key exists"):
        keys.new("a", tmp_path)
    assert private_path.read_text() == before
    assert not public_path.exists()


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".a", "-a", "a b", "a\n"])
def test_a_name_must_do_as_a_file(tmp_path, name):
    with pytest.raises(keys.KeyFileError, match="does not do"):
        keys.new(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_taking_one_file_for_the_other_is_named(tmp_path):
    public_path, private_path = keys.new("a", tmp_path)
    with pytest.raises(keys.KeyFileError, match="but a private one"):
        keys.load_public(private_path)
    with pytest.raises(keys.KeyFileError, match="but a public one"):
        keys.load_private(public_path)


@pytest.mark.parametrize(
    ("inside", "reason"),
    [("", "empty"), ("AA==", "empty"), ("????", "base64"), ("ACBv", "not a public key"), ("//8A", "not a public key")],
)
def test_a_damaged_file_is_named(tmp_path, inside, reason):
    path = tmp_path / "bad.pub"
    path.write_text(f"-----BEGIN BUSBRIDGE PUBLIC KEY-----\n{inside}\n-----END BUSBRIDGE PUBLIC KEY-----\n")
    with pytest.raises(keys.KeyFileError, match=rf"bad\.pub.*{reason}"):
        keys.load_public(path)


def test_what_is_no_key_file_is_named(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(keys.KeyFileError, match="not a busbridge key file"):
        keys.load_public(tmp_path / "x")
    with pytest.raises(keys.KeyFileError, match="cannot be read"):
        keys.load_public(tmp_path / "none")
