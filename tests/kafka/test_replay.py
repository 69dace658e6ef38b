"""`busbridge queue replay`: what was forwarded goes out again, marked, beside a daemon that notices nothing."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.support.kafka.feed import message
from tests.support.kafka.fetch import CHECKOUT
from tests.support.kafka.ledger import exactly_once_in_order, numbers_by_device
from tests.support.kafka.relay import Relay


def command(site, source, *arguments):
    config = site.log.parent / "busbridge.toml"
    return [sys.executable, "-m", "bridge", "queue", "replay", str(source), "--config", str(config), *arguments]


@pytest.fixture
def replay():
    def run(site, source, *arguments, expect=0):
        done = subprocess.run(
            command(site, source, *arguments), capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=120
        )
        assert done.returncode == expect, done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def forwarded(kafka, make_site):
    """A gateway that runs and has forwarded 40 records of two devices."""
    site = make_site(kafka.address)
    site.feed.publish(["dev-1", "dev-2"], 20)
    site.start()
    site.wait()
    return site


def marked(messages):
    return [each for each in messages if "replay" in dict(each.headers())]


def test_a_range_beside_a_running_daemon(kafka, forwarded, replay, read):
    done = replay(forwarded, forwarded.data, "--from", "11", "--to", "20", "--json")
    summary = json.loads(done.stdout)
    assert summary["records"] == 10
    messages = read(kafka.address, forwarded.topic)
    first = {dict(each.headers())["seq"]: each for each in messages if "replay" not in dict(each.headers())}
    again = marked(messages)
    assert sorted(int(dict(each.headers())["seq"]) for each in again) == list(range(11, 21))
    for each in again:
        headers = dict(each.headers())
        assert headers.pop("replay").decode() == summary["replay"]
        original = first[headers["seq"]]
        assert (each.key(), each.value(), each.timestamp()) == (original.key(), original.value(), original.timestamp())
        assert headers == dict(original.headers())
    # The daemon was not fenced.
    forwarded.feed.publish(["dev-1"], 5)
    forwarded.wait()
    assert forwarded.bus.health.state == "connected"


def test_by_device_and_topic_and_time(kafka, forwarded, replay, read):
    assert (
        json.loads(replay(forwarded, forwarded.data, "--device", "dev-2", "--dry-run", "--json").stdout)["records"]
        == 20
    )
    assert (
        json.loads(replay(forwarded, forwarded.data, "--topic", "devices/+/nothing", "--dry-run", "--json").stdout)[
            "records"
        ]
        == 0
    )
    assert (
        json.loads(
            replay(
                forwarded, forwarded.data, "--from", "2001-01-01", "--to", "2002-01-01", "--dry-run", "--json"
            ).stdout
        )["records"]
        == 0
    )
    assert marked(read(kafka.address, forwarded.topic)) == []
    replay(forwarded, forwarded.data, "--device", "dev-2", "--topic", "devices/+/telemetry/#", "--from", "2001-01-01")
    assert numbers_by_device(marked(read(kafka.address, forwarded.topic))) == {"dev-2": list(range(1, 21))}


def test_an_export(kafka, forwarded, replay, read, tmp_path):
    export = [sys.executable, "-m", "bridge", "queue", "export", str(forwarded.data), "--device", "dev-1"]
    with (tmp_path / "export.jsonl").open("wb") as out:
        subprocess.run(export, stdout=out, stderr=subprocess.DEVNULL, cwd=CHECKOUT, check=True, timeout=60)
    replay(forwarded, tmp_path / "export.jsonl")
    messages = read(kafka.address, forwarded.topic)
    first = {dict(each.headers())["seq"]: each for each in messages if "replay" not in dict(each.headers())}
    assert numbers_by_device(marked(messages)) == {"dev-1": list(range(1, 21))}
    for each in marked(messages):
        headers = dict(each.headers())
        del headers["replay"]
        assert headers == dict(first[headers["seq"]].headers())
        assert each.timestamp() == first[headers["seq"]].timestamp()


def test_ranges_that_are_not_there(kafka, make_site, replay):
    site = make_site(kafka.address)
    for _ in range(12):
        site.feed.publish(["dev-1"], 1, size=900_000)
        time.sleep(0.2)  # the next segment is written out meanwhile
    site.start()
    site.wait()
    site.feed.forwarded(site.bus.forwarded)
    lane = site.data / "uplink" / "normal"
    deadline = time.monotonic() + 20
    while len(list(lane.glob("*.seg"))) > 1:
        assert time.monotonic() < deadline, "no segment is recycled"
        time.sleep(0.05)
    (oldest,) = (int(path.stem) for path in lane.glob("*.seg"))
    said = replay(site, site.data, "--from", "1", "--to", "3", expect=2).stderr
    assert f"records 1 to 3 are not there any more, their segments were used again; the oldest is {oldest}" in said
    assert "there is no record 99; the newest is 12" in replay(site, site.data, "--from", "99", expect=2).stderr
    assert "neither a record's number nor a time" in replay(site, site.data, "--from", "soon", expect=2).stderr
    assert "no line of 'queue export'" in replay(site, site.log, expect=2).stderr


def test_what_nobody_takes_is_said(kafka, make_site, replay, read):
    site = make_site(kafka.address, extra='dead_letter_topic = ""\ntopic_timeout = "500 ms"\n')
    site.feed.publish(["dev-1"], 2)
    site.feed.append(message("dev-2", b"where to?", "no such topic!"))
    site.feed.sync()
    done = replay(site, site.data, expect=3)
    assert "1 records were taken by nobody and are only where they were, the first of them normal 3" in done.stderr
    assert numbers_by_device(read(kafka.address, site.topic)) == {"dev-1": [1, 2]}


def test_kafka_away_for_a_while(kafka, make_site, read):
    silent = socket.create_server(("127.0.0.1", 0))
    relay = Relay(silent.getsockname()[1])
    site = make_site(f"127.0.0.1:{relay.port}")
    site.feed.publish(["dev-1"], 500)
    process = subprocess.Popen(command(site, site.data), cwd=CHECKOUT, stderr=subprocess.PIPE, text=True)
    assert "Kafka is away, it is tried again" in process.stderr.readline()
    relay.target = kafka.port
    process.communicate(timeout=60)
    relay.close()
    silent.close()
    assert process.returncode == 0
    assert exactly_once_in_order(read(kafka.address, site.topic), site.feed.written)


def test_ctrl_c(make_site):
    site = make_site("127.0.0.1:1")
    site.feed.publish(["dev-1"], 5)
    process = subprocess.Popen(command(site, site.data), cwd=CHECKOUT, stderr=subprocess.PIPE, text=True)
    assert "Kafka is away" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
