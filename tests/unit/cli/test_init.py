"""`busbridge init` writes what loads and works, and overwrites nothing."""

from __future__ import annotations

import subprocess

import pytest

from bridge.config_file import load, warnings
from bridge.security import keys, tls


def test_the_first_configuration_loads_and_its_certificates_work(busbridge, tmp_path):
    done = busbridge("init", "gw", "--gateway-id", "gw-001", "--kafka", "kafka-1:9093")
    assert done.returncode == 0, done.stderr
    config = load(tmp_path / "gw/busbridge.toml")
    assert config.gateway.id == "gw-001"
    assert config.gateway.data_dir == tmp_path / "gw/data"
    assert config.kafka is not None
    assert config.kafka.bootstrap_servers == ("kafka-1:9093",)
    [listener] = config.listeners
    assert listener.bind == "0.0.0.0:8883"
    assert listener.tls is not None
    assert tls.server_context(listener.tls).verify_mode.name == "CERT_REQUIRED"
    assert warnings(config) == []


def test_without_kafka_records_go_to_files(busbridge, tmp_path):
    assert busbridge("init", "gw", "--gateway-id", "gw-001").returncode == 0
    config = load(tmp_path / "gw/busbridge.toml")
    assert config.kafka is None
    assert config.jsonl is not None
    assert config.jsonl.directory == tmp_path / "gw/out"


def test_a_plain_route_is_plain_aloud(busbridge, tmp_path):
    done = busbridge("init", "gw", "--gateway-id", "gw-001")
    assert "NOT sealed" in done.stdout
    assert [(route.seal, route.recipients) for route in load(tmp_path / "gw/busbridge.toml").routes] == [("plain", ())]


def test_with_recipients_the_route_is_sealed(busbridge, tmp_path):
    for name in ("data-team", "audit"):
        assert busbridge("keys", "new", name, "--out", "keys").returncode == 0
    arguments = ("--recipient", "keys/data-team.pub", "--recipient", "keys/audit.pub", "--kafka", "k:9092")
    done = busbridge("init", "gw", "--gateway-id", "gw-001", *arguments)
    assert done.returncode == 0, done.stderr
    config = load(tmp_path / "gw/busbridge.toml")
    assert [(route.seal, route.recipients) for route in config.routes] == [("seal", ("data-team", "audit"))]
    given = keys.load_public(tmp_path / "keys/data-team.pub")
    assert keys.load_public(config.recipients["data-team"].public_key) == given
    assert "NOT sealed" not in done.stdout


def test_the_commented_sealing_lines_work_when_taken_into_use(busbridge, tmp_path):
    busbridge("init", "gw", "--gateway-id", "gw-001", "--kafka", "k:9092")
    file = tmp_path / "gw/busbridge.toml"
    text = file.read_text().replace('seal = "plain" ', "# ")
    for line in ('seal = "seal"', "recipients = [", "[recipients.", "public_key = "):
        text = text.replace(f"\n# {line}", f"\n{line}")
    file.write_text(text)
    assert load(file).routes[0].recipients == ("data-team",)


def test_a_private_key_is_no_recipient(busbridge, tmp_path):
    busbridge("keys", "new", "data-team", "--out", "keys")
    done = busbridge("init", "gw", "--gateway-id", "gw-001", "--recipient", "keys/data-team.key")
    assert done.returncode == 2
    assert "private" in done.stderr
    assert not (tmp_path / "gw").exists()


def test_nothing_is_overwritten(busbridge, tmp_path):
    busbridge("init", "gw", "--gateway-id", "gw-001")
    files = {path: path.read_bytes() for path in (tmp_path / "gw").rglob("*") if path.is_file()}
    again = busbridge("init", "gw", "--gateway-id", "gw-002")
    assert again.returncode == 1
    assert "exists" in again.stderr
    (tmp_path / "gw/busbridge.toml").unlink()
    assert busbridge("init", "gw", "--gateway-id", "gw-002").returncode == 1
    assert all(path.read_bytes() == content for path, content in files.items() if path.name != "busbridge.toml")


def test_the_server_certificate_is_for_the_hosts_that_were_named(busbridge, tmp_path):
    busbridge("init", "gw", "--gateway-id", "gw-001", "--host", "gw.example", "--host", "10.7.0.2")
    certificate = tmp_path / "gw/certs/server.pem"
    text = subprocess.check_output(
        ["openssl", "x509", "-in", certificate, "-noout", "-ext", "subjectAltName"], text=True
    )
    for name in ("DNS:localhost", "DNS:gw.example", "IP Address:10.7.0.2", "IP Address:127.0.0.1"):
        assert name in text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--gateway-id", "a b"), "--gateway-id"),
        (("--gateway-id", 'x"\n'), "--gateway-id"),
        (("--gateway-id", "g", "--kafka", "kafka"), "--kafka"),
        (("--gateway-id", "g", "--kafka", 'k"]\nx:1'), "--kafka"),
        (("--gateway-id", "g", "--recipient", "none.pub"), "none.pub"),
        (("--gateway-id", "g", "--host", "gerät"), "ASCII"),
    ],
)
def test_wrong_values_are_named_and_nothing_is_written(busbridge, tmp_path, arguments, named):
    done = busbridge("init", "gw", *arguments)
    assert done.returncode == 2
    assert named in done.stderr
    assert not (tmp_path / "gw").exists()


def test_check_says_what_it_found(busbridge, tmp_path):
    busbridge("init", "gw", "--gateway-id", "gw-001", "--kafka", "k:9092")
    done = busbridge("check", "--config", "gw/busbridge.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "gw-001" in done.stdout
    assert "Kafka at k:9092" in done.stdout
    (tmp_path / "gw/certs/server.key").write_text("nonsense")
    broken = busbridge("check", "--config", "gw/busbridge.toml")
    assert broken.returncode == 3
    assert "listener 0.0.0.0:8883" in broken.stderr


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_configuration_that_cannot_be_used_is_2(busbridge, tmp_path, command):
    (tmp_path / "bad.toml").write_text('[gateway]\nid = "x"\n[kafka]\nbootstrap_server = ["a:1"]\n')
    done = busbridge(command, "--config", "bad.toml")
    assert done.returncode == 2
    assert "bad.toml" in done.stderr
    assert "bootstrap_servers" in done.stderr
