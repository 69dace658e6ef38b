"""`busbridge devices list|show --watch` on a real Kafka: every change, also those that only time brings."""

from __future__ import annotations

import json
import os
import pty
import queue
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.interop.gateway import wait_until
from tests.kafka.test_devices_list import COMPACT, document, gateway, instant
from tests.support.kafka.fetch import CHECKOUT

PATIENCE_S = 40


class Watcher:
    """The command, and what it has said."""

    def __init__(self, *words):
        command = [sys.executable, "-m", "bridge", "devices", *words, "--watch"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=CHECKOUT, text=True, **pipes)
        self.lines, self.errors = queue.Queue(), []
        threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout], daemon=True).start()
        threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True).start()

    def next(self):
        """What the next line says: device, and what is believed or that it was removed."""
        line = json.loads(self.lines.get(timeout=PATIENCE_S))
        return line["device"], "removed" if line.get("removed") else line["believed"]["state"]

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def watch():
    watchers = []

    def start(*words):
        watchers.append(Watcher(*words))
        return watchers[-1]

    yield start
    for each in watchers:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def topic(kafka, make_topic):
    name = f"watch-{time.time_ns()}"
    make_topic(kafka.address, name, 2, **COMPACT)
    return name


def test_every_change_is_a_line(kafka, topic, produce, watch):
    produce(kafka.address, topic, gateway("gw-live", instant(-600)), document("dev-1"), document("dev-2", "offline"))
    where = ["--topic", topic, "--kafka", kafka.address]
    everything, online, one = watch("list", *where), watch("list", "--online", *where), watch("show", "dev-2", *where)
    assert {everything.next(), everything.next()} == {("dev-1", "online"), ("dev-2", "offline")}
    assert online.next() == ("dev-1", "online")
    assert one.next() == ("dev-2", "offline")
    produce(kafka.address, topic, document("dev-2"))
    assert everything.next() == online.next() == one.next() == ("dev-2", "online")
    produce(kafka.address, topic, document("dev-1", "offline"))
    assert everything.next() == online.next() == ("dev-1", "offline")  # and then not again
    produce(kafka.address, topic, document("dev-1", "offline", reported={"version": 2}), (b"dev-2", None))
    assert {everything.next(), everything.next()} == {("dev-1", "offline"), ("dev-2", "removed")}
    assert online.next() == one.next() == ("dev-2", "removed")
    produce(kafka.address, topic, gateway("gw-live", instant(600)), document("dev-1"))
    assert everything.next()[0] == "dev-1"
    assert everything.interrupt() == online.interrupt() == one.interrupt() == 0
    assert "Traceback" not in "".join(everything.errors)


def test_a_lease_that_ends_is_a_change(kafka, topic, produce, watch):
    produce(kafka.address, topic, gateway("gw-live", instant(-600)), document("dev-1"))
    watcher = watch("list", "--topic", topic, "--kafka", kafka.address, "--margin", "0")
    assert watcher.next() == ("dev-1", "online")
    produce(kafka.address, topic, gateway("gw-live", instant(-2)))
    assert watcher.next() == ("dev-1", "unknown")


def test_an_outage_is_said_and_waited_out(own_kafka, make_topic, produce, watch):
    own_kafka.start()
    make_topic(own_kafka.address, "states", 1, **COMPACT)
    produce(own_kafka.address, "states", document("dev-1", "offline"))
    watcher = watch("list", "--topic", "states", "--kafka", own_kafka.address)
    assert watcher.next() == ("dev-1", "offline")
    own_kafka.kill()
    wait_until(lambda: any("tried again" in line for line in watcher.errors), "it says so", PATIENCE_S)
    own_kafka.start()
    produce(own_kafka.address, "states", document("dev-2", "offline"))
    assert watcher.next() == ("dev-2", "offline")
    assert watcher.interrupt() == 0


def test_on_a_terminal_it_is_a_page(kafka, topic, produce):
    produce(kafka.address, topic, *(document(f"dev-{number:03}", "offline") for number in range(200)))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "bridge", "devices", "list", "--watch", "--topic", topic, "--kafka", kafka.address]
    size = {"COLUMNS": "100", "LINES": "20", "TERM": "xterm", "PYTHONPATH": str(CHECKOUT), "PATH": os.environ["PATH"]}
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=theirs, stdout=theirs, stderr=theirs, env=size)
    os.close(theirs)
    shown = bytearray()
    try:
        wait_until(lambda: _more(ours, shown) and b"200 devices: 200 offline" in shown, "the page", PATIENCE_S)
    finally:
        process.send_signal(signal.SIGINT)
        while _more(ours, shown):
            pass
        code = process.wait(PATIENCE_S)
        os.close(ours)
    assert code == 0
    assert b"dev-005" in shown
    assert b"dev-150" not in shown, "there is no room for it"


def _more(terminal, shown):
    try:
        shown += os.read(terminal, 65536)
    except OSError:  # nobody writes there any more
        return False
    return True
