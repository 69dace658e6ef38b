"""`busbridge certs` and `busbridge keys`."""

from __future__ import annotations

import json
import subprocess
import time

import pytest


def test_init_issue_and_list(busbridge, tmp_path):
    assert busbridge("certs", "init", "--dir", "ca").returncode == 0
    assert busbridge("certs", "issue", "plc-7", "pump-3", "--dir", "ca", "--out", "devices").returncode == 0
    verify = ["openssl", "verify", "-CAfile", tmp_path / "ca/ca.pem", "-purpose", "sslclient"]
    assert subprocess.run([*verify, tmp_path / "devices/plc-7.pem"], check=False, capture_output=True).returncode == 0
    listed = json.loads(busbridge("certs", "list", "--dir", "ca", "--json").stdout)
    assert [(row["id"], row["use"], row["state"]) for row in listed] == [
        ("busbridge", "server", "valid"),
        ("plc-7", "device", "valid"),
        ("pump-3", "device", "valid"),
    ]
    table = busbridge("certs", "list", "--dir", "ca").stdout
    assert all(row["serial"] in table and row["not_after"] in table for row in listed)


def test_five_hundred_in_a_few_seconds(busbridge, tmp_path):
    busbridge("certs", "init", "--dir", "ca")
    start = time.monotonic()
    done = busbridge("certs", "issue", "--count", "500", "--pattern", "dev-%05d", "--dir", "ca", "--out", "d")
    assert time.monotonic() - start < 5.0  # 0.5 s on an idle machine
    assert done.returncode == 0, done.stderr
    names = sorted(path.stem for path in (tmp_path / "d").iterdir())
    assert (len(names), names[0], names[-1]) == (500, "dev-00001", "dev-00500")
    assert len({row["serial"] for row in json.loads(busbridge("certs", "list", "--dir", "ca", "--json").stdout)}) == 501


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ((), 2, "--count"),
        (("a", "--count", "2"), 2, "--count"),
        (("a/b",), 2, "a/b"),
        (("a", "a"), 1, "twice"),
        (("--count", "2", "--pattern", "dev"), 2, "--pattern"),
        (("--count", "2", "--pattern", "%d-%d"), 2, "--pattern"),
    ],
)
def test_wrong_names_are_named(busbridge, tmp_path, arguments, code, named):
    busbridge("certs", "init", "--dir", "ca")
    done = busbridge("certs", "issue", *arguments, "--dir", "ca", "--out", "d")
    assert done.returncode == code
    assert named in done.stderr
    assert not (tmp_path / "d").exists()


def test_without_a_ca_it_says_where_it_looked(busbridge):
    done = busbridge("certs", "issue", "a", "--dir", "nowhere", "--out", "d")
    assert done.returncode == 1
    assert "there is no CA in nowhere" in done.stderr


def test_out_that_cannot_be_written_is_one_sentence(busbridge, tmp_path):
    busbridge("certs", "init", "--dir", "ca")
    (tmp_path / "file").write_text("")
    done = busbridge("certs", "issue", "a", "--dir", "ca", "--out", "file/d")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "file/d" in done.stderr


def test_keys_new_says_who_gets_which(busbridge, tmp_path):
    done = busbridge("keys", "new", "data-team", "--out", "keys", "--post-quantum")
    assert done.returncode == 0
    assert "ML-KEM-768" in (tmp_path / "keys/data-team.pub").read_text()
    assert "give it to gateways" in done.stdout
    again = busbridge("keys", "new", "data-team", "--out", "keys")
    assert again.returncode == 1
    assert "never overwritten" in again.stderr
