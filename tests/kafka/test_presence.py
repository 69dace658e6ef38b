"""Truthful presence: what a reader of the compacted topic believes, through outages, moves and deaths of gateways."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from firmware_sim.child import children_of
from tests.crash.mains import Mains
from tests.interop.gateway import CHECKOUT, Gateway, wait_until
from tests.interop.paho_device import Device
from tests.support.curl import curl
from tests.support.kafka.documents import Topic, believed, now
from tests.support.kafka.relay import Relay

SINK = """
[kafka]
bootstrap_servers = ["127.0.0.1:{uplink}"]
request_timeout = "2 s"
reconnect_backoff_max = "500 ms"
heartbeat = "500 ms"
event_topic = "{events}"
"""
QUEUE = """
[queue]
free_space_floor = "1 MiB"
segment_bytes = "2.5 MiB"
cursor_interval = "100 ms"
"""
STATE = """
[state]
topic = "{topic}"
lease = "5 s"
sweep_margin = "0 s"
sweep = {sweep}
"""
INTERVAL_S = 0.2
"""The default of `state.interval`."""


class Site:
    """A gateway with an uplink of its own that can be cut."""

    def __init__(self, directory, kafka, gateway_id, topic, *, sweep=False, extra="", mains=None):
        directory.mkdir()
        self.relay = Relay(kafka.port)
        sink = SINK.replace("{uplink}", str(self.relay.port)).replace("{events}", f"{topic}-events")
        state = STATE.format(topic=topic, sweep=str(sweep).lower())
        self.gateway = Gateway(directory, QUEUE + extra, sink=sink, routes=state)
        text = self.gateway.config.read_text().replace('"gw-test"', f'"{gateway_id}"')
        self.gateway.config.write_text(text)
        self.port, self.data = self.gateway.port, directory / "data"
        self.mains = Mains(self.data, mains) if mains is not None else None
        if self.mains is not None:
            self.gateway.environment = self.mains.environment

    def cut(self):
        """The uplink is gone: the bus side starts anew and finds a black hole."""
        self.relay.swallows = True
        for pid in children_of(self.gateway.pid):
            os.kill(pid, signal.SIGKILL)

    def power_cut(self, random, kept=0.5):
        """Both processes, and whatever was not synced; without the recorder from the next start on."""
        self.mains.cut([self.gateway.pid, *children_of(self.gateway.pid)], random, kept)
        self.gateway.process.wait()
        self.gateway.environment = {}

    def mend(self):
        self.relay.swallows = False


@pytest.fixture
def topic(kafka, make_topic, read):
    name = f"presence-{time.time_ns()}"
    compact = {"cleanup_policy": "compact", "segment_ms": "2000", "min_cleanable_dirty_ratio": "0.01"}
    make_topic(kafka.address, name, 2, **compact)
    make_topic(kafka.address, f"{name}-events")
    return Topic(name, lambda which: read(kafka.address, which))


@pytest.fixture
def make(kafka, topic, tmp_path):
    sites = []

    def make_one(gateway_id, **options):
        sites.append(Site(tmp_path / gateway_id, kafka, gateway_id, topic.name, **options))
        sites[-1].gateway.start()
        return sites[-1]

    yield make_one
    for site in sites:
        if site.gateway.running:
            site.gateway.kill()
        site.relay.close()


def report(device, name, patch):
    assert device.publish(f"devices/{name}/state/reported", json.dumps(patch).encode(), 1) == 0


def figures(site):
    """What a gateway's bus side has counted."""
    said = curl("http://gateway/status", socket=site.data / "admin.sock").body
    return said["status"]["bus_side"]["health"]["figures"]


def test_a_device_that_moved_during_an_outage_is_where_it_connected_last(topic, make):
    a, b = make("gw-a"), make("gw-b")
    with Device(a.port, "dev-1") as first:
        report(first, "dev-1", {"a": 1})
        topic.wait(lambda docs: docs["dev-1"]["reported"]["version"] == 1)
        a.cut()
        report(first, "dev-1", {"overtaken": True})
        with Device(b.port, "dev-1") as second:
            topic.wait(lambda docs: docs["dev-1"]["presence"]["gateway"] == "gw-b")
            report(second, "dev-1", {"b": 2})
            topic.wait(lambda docs: docs["dev-1"]["reported"]["version"] == 2)
            first.drop()
            wait_until(lambda: a.gateway.presence("dev-1")["state"] == "offline", "A has seen it go")
            a.mend()
            wait_until(topic.superseded, "what was overtaken is told")
            documents = topic.latest()
            assert documents["dev-1"]["presence"]["gateway"] == "gw-b"
            assert believed(documents, "dev-1") == "online"
            assert documents["dev-1"]["reported"]["state"] == {"a": 1, "b": 2}
    wait_until(lambda: figures(a)["superseded"] == 1, "its status counts it")
    assert figures(a)["gateways"] == 2
    (lost,) = topic.superseded()
    assert (lost["device"], lost["by"], lost["document"]["reported"]["state"]["overtaken"]) == ("dev-1", "gw-b", True)
    topic.wait(lambda docs: docs["dev-1"]["presence"]["state"] == "offline")
    assert topic.replaced() == []


def test_a_gateway_with_a_new_disk_goes_on_where_the_topic_is(topic, make):
    site = make("gw-a")
    with Device(site.port, "dev-1") as device:
        report(device, "dev-1", {"a": 1})
        report(device, "dev-1", {"b": {"c": 2}})
        topic.wait(lambda docs: docs["dev-1"]["reported"]["version"] == 2)
        site.gateway.kill()
    shutil.rmtree(site.data)
    site.gateway.start()
    documents = topic.wait(lambda docs: docs["dev-1"]["presence"]["state"] == "offline")
    assert documents["dev-1"]["presence"]["reason"] == "gateway-stopped"
    topic.wait(lambda docs: docs["gateway/gw-a"]["epoch"] == 2)
    with Device(site.port, "dev-1") as device:
        report(device, "dev-1", {"b": {"c": None, "d": 3}})
        documents = topic.wait(lambda docs: docs["dev-1"]["reported"]["version"] == 3)
        assert documents["dev-1"]["reported"]["state"] == {"a": 1, "b": {"d": 3}}
        topic.wait(lambda docs: believed(docs, "dev-1") == "online" and docs["dev-1"]["presence"]["gateway_epoch"] == 2)
    assert topic.replaced() == []


def test_a_gateway_with_an_old_disk_goes_on_where_the_topic_is(topic, make, tmp_path):
    site = make("gw-a")
    with Device(site.port, "dev-1") as device:
        report(device, "dev-1", {"a": 1})
        topic.wait(lambda docs: docs["dev-1"]["reported"]["version"] == 1)
    site.gateway.kill()
    shutil.copytree(site.data, tmp_path / "old", ignore=shutil.ignore_patterns("*.sock"))
    site.gateway.start()
    with Device(site.port, "dev-1") as device, Device(site.port, "dev-2") as stranger:
        report(device, "dev-1", {"b": {"c": 2}})
        report(device, "dev-1", {"a": 3})
        report(stranger, "dev-2", {"only": "the topic knows"})
        topic.wait(lambda docs: (docs["dev-1"]["reported"]["version"], docs["dev-2"]["reported"]["version"]) == (3, 1))
        site.gateway.kill()
    shutil.rmtree(site.data)
    (tmp_path / "old").rename(site.data)
    site.gateway.start()
    topic.wait(lambda docs: docs["gateway/gw-a"]["epoch"] == 3)
    documents = topic.wait(
        lambda docs: docs["dev-1"]["presence"]["state"] == docs["dev-2"]["presence"]["state"] == "offline"
    )
    assert documents["dev-1"]["reported"]["state"] == {"a": 3, "b": {"c": 2}}
    with Device(site.port, "dev-1") as device, Device(site.port, "dev-2") as stranger:
        report(device, "dev-1", {"b": {"d": 4}})
        report(stranger, "dev-2", {"again": True})
        documents = topic.wait(
            lambda docs: docs["dev-1"]["reported"]["version"] == 4 and docs["dev-2"]["reported"]["version"] == 2
        )
        assert documents["dev-1"]["reported"]["state"] == {"a": 3, "b": {"c": 2, "d": 4}}
        assert documents["dev-2"]["reported"]["state"] == {"only": "the topic knows", "again": True}
    assert topic.replaced() == []


def test_a_device_that_reports_all_the_time_costs_few_records_and_the_last_wins(kafka, topic, make, read):
    site, begun = make("gw-a"), time.monotonic()
    with Device(site.port, "dev-1") as device:
        for number in range(1, 301):
            report(device, "dev-1", {"n": number})
        topic.wait(lambda docs: docs["dev-1"]["reported"]["state"]["n"] == 300)
        most = (time.monotonic() - begun) / INTERVAL_S + 2
    documents = [json.loads(each.value()) for each in read(kafka.address, topic.name) if each.key() == b"dev-1"]
    versions = [each["reported"]["version"] for each in documents if each["reported"]]
    assert versions == sorted(versions)
    assert versions[-1] == 300
    assert len(documents) <= most
    assert topic.replaced() == []


def test_devices_of_a_dead_gateway_are_unknown_until_it_is_back(topic, make):
    dead, other = make("gw-a"), make("gw-b", sweep=True)
    with Device(dead.port, "dev-1"), Device(other.port, "dev-2"):
        topic.wait(lambda docs: believed(docs, "dev-1") == believed(docs, "dev-2") == "online")
        dead.gateway.kill()
        documents = topic.wait(lambda docs: docs["dev-1"]["presence"]["state"] == "unknown")
        presence = documents["dev-1"]["presence"]
        assert (presence["reason"], presence["gateway"], presence["gateway_epoch"]) == ("lease-over", "gw-a", 1)
        assert presence["since"] <= now()
        dead.gateway.start()
        topic.wait(lambda docs: docs["dev-1"]["presence"]["reason"] == "gateway-stopped")
        assert believed(topic.latest(), "dev-2") == "online"
    assert topic.replaced() == []


def test_a_gateway_that_was_cut_off_says_again_what_is_true(topic, make):
    cut, other = make("gw-a"), make("gw-b", sweep=True)
    with Device(cut.port, "dev-1"):
        topic.wait(lambda docs: believed(docs, "dev-1") == "online")
        cut.cut()
        topic.wait(lambda docs: docs["dev-1"]["presence"]["state"] == "unknown")
        cut.mend()
        topic.wait(lambda docs: docs["dev-1"]["presence"]["state"] == "online" and believed(docs, "dev-1") == "online")
    assert other.gateway.running
    assert topic.replaced() == []


def devices(site, *words, code=0):
    """A `busbridge devices` command with that gateway's configuration."""
    command = [sys.executable, "-m", "bridge", "devices", *words, "--config", str(site.gateway.config)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=120)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    return done.stdout


def test_swept_by_hand_and_removed(topic, make):
    dead, other = make("gw-a"), make("gw-b")
    with Device(dead.port, "dev-1"), Device(other.port, "dev-2") as living:
        report(living, "dev-2", {"a": 1})
        topic.wait(lambda docs: believed(docs, "dev-1") == believed(docs, "dev-2") == "online")
        dead.gateway.kill()
        topic.wait(lambda docs: believed(docs, "dev-1") == "unknown")
        assert json.loads(devices(other, "sweep", "--dry-run", "--json")) == [{"device": "dev-1", "state": "online"}]
        assert json.loads(devices(other, "sweep", "--json")) == [{"device": "dev-1", "state": "unknown"}]
        assert json.loads(devices(other, "sweep", "--json")) == []
        assert topic.latest()["dev-1"]["presence"]["reason"] == "lease-over"
    topic.wait(lambda docs: docs["dev-2"]["presence"]["state"] == "offline")
    devices(other, "remove", "dev-2")
    assert "dev-2" not in topic.latest()
    devices(other, "remove", "dev-2", code=1)
    cold = sqlite3.connect(f"file:{other.data}/cold.sqlite?mode=ro", uri=True)
    wait_until(lambda: not cold.execute("SELECT * FROM documents").fetchall(), "the gateway has forgotten it")
    cold.close()
    with Device(other.port, "dev-2") as back:
        report(back, "dev-2", {"b": 1})
        documents = topic.wait(lambda docs: docs["dev-2"]["reported"]["version"] == 1)
    assert documents["dev-2"]["reported"]["state"] == {"b": 1}
    assert topic.replaced() == []
