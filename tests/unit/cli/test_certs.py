"""`busbridge certs` and `busbridge keys`."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import termios
import time

import pytest

from tests.unit.cli.conftest import CHECKOUT


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


def test_many_show_how_far_they_are_on_a_terminal(busbridge, tmp_path):
    busbridge("certs", "init", "--dir", "ca")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, "-m", "bridge", "certs", "issue", "--count", "60", "--dir", "ca", "--out", "d"]
    environment = {"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin", "TERM": "xterm"}
    with subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE, cwd=tmp_path, env=environment) as process:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # (the terminal's end)
            while more := os.read(ours, 4096):
                seen += more
        assert process.communicate()[0] == b"Issued 60 certificates in d.\n"
    os.close(ours)
    assert b"Issuing" in seen
    assert b"100%" in seen


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


def openssl(tmp_path, *arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sign_revoke_renew_and_what_list_says_of_it(busbridge, tmp_path):
    assert busbridge("certs", "init", "--dir", "ca").returncode == 0
    openssl(tmp_path, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "plc-7.key")
    openssl(tmp_path, "req", "-new", "-key", "plc-7.key", "-subj", "/CN=plc-7", "-out", "plc-7.csr")
    assert busbridge("certs", "sign", "plc-7.csr", "--dir", "ca", "--out", "d").stdout == "signed d/plc-7.pem\n"
    assert "exists" in busbridge("certs", "sign", "plc-7.csr", "--dir", "ca", "--out", "d").stderr
    assert busbridge("certs", "sign", "plc-7.csr", "--renew", "--dir", "ca", "--out", "d").returncode == 0
    wrong = busbridge("certs", "sign", "plc-7.key", "--dir", "ca", "--out", "d")
    assert (wrong.returncode, wrong.stderr[:26]) == (1, "busbridge: plc-7.key: not ")
    busbridge("certs", "issue", "pump-3", "--days", "20", "--dir", "ca", "--out", "d")
    expiring = json.loads(busbridge("certs", "list", "--expiring", "30", "--dir", "ca", "--json").stdout)
    assert [row["id"] for row in expiring] == ["pump-3"]
    assert busbridge("certs", "renew", "--expiring", "30", "--dir", "ca", "--out", "d").stdout.startswith("Renewed 1 ")
    assert busbridge("certs", "renew", "--server", "--dir", "ca").returncode == 0
    revoked = busbridge("certs", "revoke", "plc-7", "--reason", "keyCompromise", "--dir", "ca")
    assert [line.split(",")[0] for line in revoked.stdout.splitlines()[:2]] == ["revoked plc-7"] * 2
    states = [
        (row["id"], row["state"]) for row in json.loads(busbridge("certs", "list", "--dir", "ca", "--json").stdout)
    ]
    assert states.count(("plc-7", "revoked")) == 2
    assert states.count(("pump-3", "valid")) == states.count(("busbridge", "valid")) == 2
    nobody = busbridge("certs", "revoke", "nobody", "--dir", "ca")
    assert (nobody.returncode, "no valid certificate of nobody" in nobody.stderr) == (1, True)


def subject(tmp_path, path):
    return openssl(tmp_path, "x509", "-in", path, "-noout", "-subject", "-nameopt", "RFC2253").strip()


def test_roles_are_given_by_whoever_signs_and_kept_by_whoever_renews(busbridge, tmp_path):
    assert busbridge("certs", "init", "--dir", "ca").returncode == 0
    here = ("--dir", "ca", "--out", "d")
    assert busbridge("certs", "issue", "panel-1", "--ou", "Editors", "--ou", "Night shift", *here).returncode == 0
    assert subject(tmp_path, "d/panel-1.pem") == "subject=CN=panel-1,OU=Night shift,OU=Editors"
    assert busbridge("certs", "renew", "panel-1", *here).returncode == 0
    assert subject(tmp_path, "d/panel-1.pem") == "subject=CN=panel-1,OU=Night shift,OU=Editors"
    assert busbridge("certs", "renew", "panel-1", "--ou", "Readers", *here).returncode == 0
    assert subject(tmp_path, "d/panel-1.pem") == "subject=CN=panel-1,OU=Readers"
    listed = json.loads(busbridge("certs", "list", "--dir", "ca", "--json").stdout)
    assert [row["ou"] for row in listed] == ["", *["Editors, Night shift"] * 2, "Readers"]


def test_a_request_s_roles_are_granted_where_somebody_says_so(busbridge, tmp_path):
    assert busbridge("certs", "init", "--dir", "ca").returncode == 0
    openssl(tmp_path, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "plc-7.key")
    openssl(tmp_path, "req", "-new", "-key", "plc-7.key", "-subj", "/OU=Editors/CN=plc-7", "-out", "plc-7.csr")
    signing = ("certs", "sign", "plc-7.csr", "--renew", "--dir", "ca", "--out", "d")
    for more, expected in (
        ((), "subject=CN=plc-7"),
        (("--ou-as-requested",), "subject=CN=plc-7,OU=Editors"),
        ((), "subject=CN=plc-7,OU=Editors"),
        (("--ou", "Readers"), "subject=CN=plc-7,OU=Readers"),
    ):
        done = busbridge(*signing, *more)
        assert done.returncode == 0, done.stderr
        assert subject(tmp_path, "d/plc-7.pem") == expected
    assert busbridge(*signing, "--ou", "a", "--ou-as-requested").returncode == 2


@pytest.mark.parametrize("units", [("",), ("x" * 65,), ("a\nb",), ("a", "a")])
def test_an_ou_that_cannot_be_one_is_named_before_anything_is_made(busbridge, tmp_path, units):
    busbridge("certs", "init", "--dir", "ca")
    done = busbridge("certs", "issue", "a", *(f"--ou={unit}" for unit in units), "--dir", "ca", "--out", "d")
    assert (done.returncode, " OU " in done.stderr) == (2, True)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("plc-7", "--server"),
        ("plc-7",),
        ("--expiring", "3", "--server"),
        ("--expiring", "3"),
        ("--server", "--ou", "Editors"),
    ],
)
def test_renew_says_what_it_needs(busbridge, arguments):
    busbridge("certs", "init", "--dir", "ca")
    done = busbridge("certs", "renew", *arguments, "--dir", "ca")
    assert done.returncode == 2
    assert "--server" in done.stderr or "--out" in done.stderr


def test_a_site_below_a_root_and_a_pkcs12_for_a_tool(busbridge, tmp_path):
    assert busbridge("certs", "init", "--dir", "root", "--root", "--name", "Works").returncode == 0
    made = busbridge("certs", "init", "--dir", "site", "--below", "root", "--name", "Site 7")
    assert 'client_ca = "site/client-ca.pem"' in made.stdout
    assert busbridge("certs", "init", "--dir", "x", "--root", "--host", "h").returncode == 2
    busbridge("certs", "issue", "plc-7", "--dir", "site", "--out", "d")
    openssl(tmp_path, "verify", "-CAfile", "root/ca.pem", "-untrusted", "site/client-ca.pem", "d/plc-7.pem")
    (tmp_path / "secret").write_text("correct horse\n")
    export = ("certs", "export", "d/plc-7.pem", "--out", "plc-7.p12", "--password-file", "secret")
    assert busbridge(*export).returncode == 0
    assert "PRIVATE KEY" in openssl(tmp_path, "pkcs12", "-in", "plc-7.p12", "-passin", "pass:correct horse", "-nodes")
    assert "not overwritten" in busbridge(*export).stderr
    assert (tmp_path / "plc-7.p12").stat().st_mode & 0o777 == 0o600
