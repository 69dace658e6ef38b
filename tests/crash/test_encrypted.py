"""A real gateway with `queue.encrypt`: killed, given a new key, read, and what somebody finds who has only its disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.gateway import CHECKOUT, PATIENCE_S, SINK, Gateway, wait_until
from tests.interop.wire import PUBACK, Wire

NOBODY = 'bootstrap_servers = ["127.0.0.1:1"]'
DEVICE, TOPIC = "planted-device", "devices/planted-device/telemetry/planted-topic"
ENCRYPT = """
[queue]
free_space_floor = "1 MiB"
segment_bytes = "2.5 MiB"
encrypt = true
encrypt_key_file = "queue.key"
"""


class Box(Gateway):
    """A gateway that reaches nobody yet, and its key."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, ENCRYPT, sink=f"[kafka]\n{NOBODY}\n")
        self.key = directory / "queue.key"
        self.new_key("1a")

    def new_key(self, byte: str) -> None:
        self.key.write_text(byte * 32 + "\n")
        self.key.chmod(0o600)

    def publish(self, *payloads: bytes) -> None:
        """QoS 1, each acknowledged."""
        with Wire(self.port, DEVICE) as wire:
            wire.connected()
            for number, payload in enumerate(payloads, 1):
                wire.publish(TOPIC, payload, 1, number)
            assert wire.packet_ids(PUBACK, len(payloads)) == list(range(1, len(payloads) + 1))

    def refused(self) -> str:
        """What it says instead of starting."""
        assert self.launch().wait(PATIENCE_S) == 1
        return self.log().splitlines()[-1]

    def change(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def queue(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bridge", "queue", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_nothing_is_found_on_its_disk_and_everything_arrives_over_kills_and_a_new_key(box: Box) -> None:
    box.start()
    box.publish(b"planted payload 1", b"planted payload 2")
    box.kill()
    box.start()
    box.publish(b"planted payload 3")
    box.kill()
    box.key.rename(box.directory / "old.key")
    box.new_key("2b")
    box.change('encrypt_key_file = "queue.key"', 'encrypt_key_file = "queue.key"\nencrypt_old_key_files = ["old.key"]')
    box.start()
    box.publish(b"planted payload 4")
    assert box.stop() == 0
    files = [path for path in (box.directory / "data" / "uplink").rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".seg"]) >= 2
    assert [path for path in files if b"planted" in path.read_bytes()] == []
    exported = box.queue("export", str(box.directory / "data"), "--lane", "normal",
                           "--key-file", str(box.key), "--key-file", str(box.directory / "old.key"))  # fmt: skip
    assert exported.returncode == 0, exported.stderr
    assert exported.stdout.count(TOPIC) == 4
    without = box.queue("export", str(box.directory / "data"), "--lane", "normal")
    assert without.returncode == 1
    assert "is encrypted and no key is given" in without.stderr
    verified = box.queue("verify", str(box.directory / "data"), "--lane", "normal")
    assert "want of a key" in verified.stdout, verified.stderr
    box.change(f"[kafka]\n{NOBODY}\n", SINK.format(directory=box.directory))
    box.start()
    expected = [b"planted payload %d" % number for number in range(1, 5)]
    wait_until(lambda: len(box.forwarded()) >= 4, f"all are forwarded: {box.log()}")
    assert box.forwarded() == expected
    assert box.stop() == 0


def test_a_key_that_is_not_there_or_not_secret_or_another_is_said_in_a_sentence(box: Box) -> None:
    box.start()
    box.publish(b"x")
    assert box.stop() == 0
    box.key.chmod(0o644)
    assert "every user of this machine" in box.refused()
    box.new_key("2b")
    assert "is encrypted with another key than is given" in box.refused()
    box.key.write_text("no key\n")
    assert "is no queue key: it should be 64 hexadecimal digits" in box.refused()
    box.key.unlink()
    assert "cannot be read" in box.refused()
    box.new_key("1a")
    box.start()
    assert box.stop() == 0
    assert "Traceback" not in box.log()


def test_the_key_may_be_a_credential_that_systemd_hands_over(box: Box) -> None:
    box.change(f"[kafka]\n{NOBODY}\n", SINK.format(directory=box.directory))
    box.change('encrypt_key_file = "queue.key"', 'encrypt_key_file = "/run/busbridge-no-such-file/queue.key"')
    assert "cannot be read" in box.refused()
    credentials = box.directory / "credentials"
    credentials.mkdir()
    box.key.rename(credentials / "queue.key")
    box.environment["CREDENTIALS_DIRECTORY"] = str(credentials)
    box.start()
    box.publish(b"planted payload 1")
    wait_until(lambda: box.forwarded() == [b"planted payload 1"], f"the bus side has the key too: {box.log()}")
    assert box.stop() == 0
    assert [
        path for path in (box.directory / "data" / "uplink").rglob("*.seg") if b"planted" in path.read_bytes()
    ] == []
