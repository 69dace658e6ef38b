"""`busbridge queue adopt`: a dead gateway's queue, each record exactly once and in order, whatever is killed when."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from bridge.device_side.lock import DirectoryLock
from bridge.log.queue_key import KEY_BYTES, Keyring, QueueKey
from bridge.log.record import CLOCK_SYNCHRONISED, DOCUMENT, encode, encode_context
from tests.support.kafka.feed import message
from tests.support.kafka.fetch import CHECKOUT
from tests.support.kafka.ledger import exactly_once_in_order, numbers_by_device
from tests.support.kafka.letters import letters_of
from tests.unit.log.lane import Lane

DEVICES = [f"dev-{number:05d}" for number in range(20)]


def command(dead, adopter, *arguments):
    config = adopter.log.parent / "busbridge.toml"
    words = ["queue", "adopt", dead.data, "--config", config, "--gateway-id", dead.gateway, *arguments]
    return [sys.executable, "-m", "bridge", *map(str, words)]


@pytest.fixture
def adopt():
    def run(dead, adopter, *arguments, expect=0):
        done = subprocess.run(
            command(dead, adopter, *arguments), capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=120
        )
        assert done.returncode == expect, done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        return done

    return run


def position(kafka, site, lane):
    """What Kafka has as the lane's position at this moment."""
    group = f"busbridge.{site.gateway}.{lane}"
    admin = AdminClient({"bootstrap.servers": kafka.address})
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
    return max(each.offset for each in asked[group].result(30).topic_partitions)


def die_in_an_outage(site):
    """Part of what it took in is in Kafka, the rest is not; its cursor is behind Kafka's position."""
    bus = site.start()
    site.feed.publish(DEVICES, 30)
    site.feed.publish(["alarm-1"], 20, "alarm")
    site.wait()
    bus.kill()
    site.feed.publish(DEVICES, 250)
    site.feed.publish(["alarm-1"], 100, "alarm")
    site.feed.close()


def test_killed_at_random_and_repeated_it_doubles_nothing(kafka, make_site, adopt, read):
    dead = make_site(kafka.address, lanes=("normal", "alarm"), extra="transaction_records = 100\n")
    adopter = make_site(kafka.address, extra='transaction_records = 100\nlinger = "50 ms"\n')
    die_in_an_outage(dead)
    moments = random.Random(7)
    for _ in range(5):
        before = position(kafka, dead, "normal")
        process = subprocess.Popen(command(dead, adopter), cwd=CHECKOUT, stderr=subprocess.DEVNULL)
        while position(kafka, dead, "normal") == before:
            assert process.poll() is None, "it ended, and forwarded nothing"
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.wait()
    assert position(kafka, dead, "normal") < 5601, "it was never killed half-way"
    done = adopt(dead, adopter, "--json")
    assert exactly_once_in_order(read(kafka.address, dead.topic), dead.feed.written)
    plans = {plan["lane"]: plan for plan in json.loads(done.stdout)}
    assert plans["alarm"]["end"] == 121
    headers = dict(read(kafka.address, dead.topic)[-1].headers())
    assert (headers["gateway"], headers["log"]) == (dead.gateway.encode(), dead.feed.log_id.hex().encode())
    # Once more: there is nothing left to do, and nothing is done.
    again = json.loads(adopt(dead, adopter, "--json").stdout)
    assert [plan["forwarded"] for plan in again] == [0, 0]
    assert exactly_once_in_order(read(kafka.address, dead.topic), dead.feed.written)


def test_stopped_by_hand_it_goes_on_where_it_was(kafka, make_site, adopt, read):
    dead = make_site(kafka.address)
    adopter = make_site(kafka.address, extra='transaction_records = 20\nlinger = "100 ms"\n')
    dead.feed.publish(DEVICES, 40)
    dead.feed.close()
    process = subprocess.Popen(command(dead, adopter), cwd=CHECKOUT, stderr=subprocess.PIPE, text=True)
    time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode in (1, 130), said  # 130: before it had begun, on a slow machine
    assert "Traceback" not in said
    assert process.returncode == 130 or "stopped before the end: run it again" in said
    adopt(dead, adopter, "--json")
    assert exactly_once_in_order(read(kafka.address, dead.topic), dead.feed.written)


def test_kafkas_position_counts_where_the_disk_is_behind(kafka, make_site, adopt, read):
    dead, adopter = make_site(kafka.address), make_site(kafka.address)
    dead.feed.publish(["dev-1"], 50)
    dead.start()
    dead.wait()
    dead.bus.kill()
    (dead.data / "uplink" / "normal" / "cursor").unlink()
    dead.feed.publish(["dev-1"], 10)
    dead.feed.close()
    told = json.loads(adopt(dead, adopter, "--dry-run", "--json").stdout)
    assert told == [{"lane": "normal", "cursor": None, "kafka": 51, "begin": 51, "end": 61, "forwarded": 0}]
    assert len(read(kafka.address, dead.topic)) == 50
    assert json.loads(adopt(dead, adopter, "--json").stdout)[0]["forwarded"] == 10
    assert exactly_once_in_order(read(kafka.address, dead.topic), dead.feed.written)


def test_an_older_copy_of_a_queue_doubles_nothing(kafka, make_site, adopt, read, tmp_path):
    dead, adopter = make_site(kafka.address), make_site(kafka.address)
    dead.feed.publish(["dev-1"], 20)
    copy = tmp_path / "copy"
    shutil.copytree(dead.data, copy, ignore=shutil.ignore_patterns("spare*"))  # (one may be on its way)
    dead.feed.publish(["dev-1"], 30)
    dead.start()
    dead.wait()
    dead.bus.kill()
    dead.feed.close()
    shutil.rmtree(dead.data)
    copy.rename(dead.data)
    told = json.loads(adopt(dead, adopter, "--json").stdout)
    assert told == [{"lane": "normal", "cursor": None, "kafka": 51, "begin": 21, "end": 21, "forwarded": 0}]
    assert exactly_once_in_order(read(kafka.address, dead.topic), dead.feed.written)


def test_gateway_that_lives_after_all_is_fenced_and_says_so(kafka, make_site, adopt, read):
    dead, adopter = make_site(kafka.address), make_site(kafka.address)
    dead.feed.publish(["dev-1"], 10)
    dead.start()
    dead.wait()
    adopt(dead, adopter)
    dead.feed.publish(["dev-1"], 10)
    dead.tell()
    dead.wait_for("fenced")
    assert len(read(kafka.address, dead.topic)) == 10
    adopt(dead, adopter)
    assert exactly_once_in_order(read(kafka.address, dead.topic), dead.feed.written)


def test_what_it_refuses(kafka, make_site, adopt, tmp_path):
    dead, adopter = make_site(kafka.address), make_site(kafka.address)
    dead.feed.publish(["dev-1"], 10)
    dead.start()
    dead.wait()
    dead.bus.kill()
    with DirectoryLock(dead.data):
        assert "in use by process" in adopt(dead, adopter, expect=1).stderr
    assert (
        "Kafka knows no position of a gateway nobody" in adopt(dead, adopter, "--gateway-id", "nobody", expect=1).stderr
    )
    newer = make_site(kafka.address, gateway=dead.gateway, topic=dead.topic)
    newer.feed.publish(["dev-2"], 10)
    newer.start()
    newer.wait()
    assert "belongs to another queue" in adopt(dead, adopter, expect=1).stderr
    # The living one was not fenced by the question.
    newer.feed.publish(["dev-2"], 10)
    newer.wait()
    nowhere = [*command(dead, adopter)[:5], str(tmp_path), *command(dead, adopter)[6:]]
    done = subprocess.run(nowhere, capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=60)
    assert done.returncode == 2
    assert "is no gateway's data directory" in done.stderr
    whose = command(dead, adopter)[:-2]
    done = subprocess.run(whose, capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=60)
    assert done.returncode == 2
    assert "give it with --gateway-id" in done.stderr


def test_an_encrypted_queue_needs_its_key(kafka, make_site, adopt, read, tmp_path):
    dead, keyless = make_site(kafka.address), make_site(kafka.address)
    dead.feed.close()
    secret = QueueKey(b"k" * KEY_BYTES)
    lane = Lane(dead.data / "uplink" / "sealed", keys=Keyring(secret))
    lane.writer.append(message("dev-1", b'{"device": "dev-1", "n": 1}', dead.topic))
    lane.writer.close()
    (dead.data / "uplink" / "LOG").unlink()
    for spare in (dead.data / "uplink" / "normal").iterdir():
        spare.unlink()
    refused = adopt(dead, keyless, expect=1)
    assert "key" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    (tmp_path / "queue.key").write_text((b"k" * KEY_BYTES).hex())
    (tmp_path / "queue.key").chmod(0o600)
    config = keyless.log.parent / "busbridge.toml"
    text = config.read_text().replace("[queue]", f'[queue]\nencrypt = true\nencrypt_key_file = "{tmp_path}/queue.key"')
    config.write_text(text)
    adopt(dead, keyless)
    assert numbers_by_device(read(kafka.address, dead.topic)) == {"dev-1": [1]}


def test_damage_and_poison_are_told_and_hold_nothing_up(kafka, make_site, adopt, read):
    dead, adopter = make_site(kafka.address), make_site(kafka.address, extra='dead_letter_topic = ""\n')
    for _ in range(30):
        dead.feed.publish(["dev-1"], 1)
    dead.feed.append(message("dev-2", b"where to?", "no such topic!"))
    dead.feed.publish(["dev-1"], 1)
    dead.feed.close()
    (segment,) = (dead.data / "uplink" / "normal").glob("*.seg")
    content = bytearray(segment.read_bytes())
    at = content.index(b'"n": 11}')
    content[at] ^= 0xFF
    segment.write_bytes(content)
    adopt(dead, adopter)
    found = numbers_by_device(read(kafka.address, dead.topic))["dev-1"]
    assert found == [*range(1, 11), *range(12, 32)]
    gaps = [json.loads(each.value()) for each in read(kafka.address, "busbridge-events")]
    (gap,) = [each for each in gaps if each["gateway"] == dead.gateway and each["type"] == "gap"]
    assert (gap["first_seq"], gap["last_seq"]) == (11, 11)
    (letter,) = letters_of(dead.data)
    assert letter.record.payload == b"where to?"


def document(device, text, topic, wall_ns):
    context = encode_context(device, "", topic)
    return encode(DOCUMENT, CLOCK_SYNCHRONISED, 0, wall_ns, 0, context, b"", text)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_newer_document_is_never_replaced_by_an_older_one(wanted, kafka, make_site, make_topic, adopt, read):
    topic = f"state-{time.time_ns()}"
    make_topic(kafka.address, topic, 2, cleanup_policy="compact")
    dead, alive = make_site(kafka.address), make_site(kafka.address)
    now = time.time_ns()
    dead.feed.append(document("moved", b'"old"', topic, now - 10**9))
    dead.feed.append(document("stayed", b'"here"', topic, now - 10**9))
    dead.feed.append(document("came-back", b'"newest"', topic, now + 10**9))
    dead.feed.publish(["dev-1"], 5)
    dead.feed.close()
    alive.feed.append(document("moved", b'"new"', topic, now))
    alive.feed.append(document("came-back", b'"older"', topic, now))
    alive.feed.sync()
    alive.start()
    alive.wait()
    done = adopt(dead, alive, *([] if wanted else ["--no-documents"]))
    left = {each.key(): each.value() for each in read(kafka.address, topic)}
    if wanted:
        assert left == {b"moved": b'"new"', b"stayed": b'"here"', b"came-back": b'"newest"'}
        assert "1 device documents were left out: another gateway wrote newer ones" in done.stderr
    else:
        assert left == {b"moved": b'"new"', b"came-back": b'"older"'}
        assert "3 device documents were left out: as asked for" in done.stderr
    assert exactly_once_in_order(read(kafka.address, dead.topic), dead.feed.written)
