"""`busbridge check --connect` against real brokers: what it says, and its exit code."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.support.kafka.fetch import CHECKOUT


@pytest.fixture
def check(make_site):
    def run(server, **settings):
        site = make_site(server, **settings)
        command = [sys.executable, "-m", "bridge", "check", "--connect", "--config", site.log.parent / "busbridge.toml"]
        return subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=60)

    return run


def test_all_well(kafka, check, make_topic):
    make_topic(kafka.address, "telemetry", 3)
    done = check(kafka.address, gateway="gw-check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Kafka answers and lets us in: 1 brokers" in done.stdout
    assert "topic telemetry: there, 3 partitions" in done.stdout
    assert "transactions: allowed" in done.stdout
    assert "positions: allowed in the group busbridge.gw-check.normal" in done.stdout


def test_topics_that_can_be_made_and_that_cannot(kafka, check):
    words = 'create_topics = true\ntopic_replication = %d\nevent_topic = "never-made"\n'
    done = check(kafka.address, extra=words % 1)
    assert done.returncode == 0, done.stderr
    assert "topic never-made: not there yet, it can be made" in done.stdout
    assert "never-made" not in AdminClient({"bootstrap.servers": kafka.address}).list_topics(timeout=10).topics
    done = check(kafka.address, extra=words % 3)
    assert done.returncode == 3
    assert "topic never-made: not there, and it cannot be made:" in done.stderr
    done = check(kafka.address, extra='event_topic = "never-made"\n')
    assert "topic never-made: not there yet, Kafka makes it when it is asked for" in done.stdout


def test_what_the_account_may_not(kafka, check, make_topic):
    make_topic(kafka.address, "not-ours")
    denials = [
        AclBinding(
            kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", AclOperation.ALL, AclPermissionType.DENY
        )
        for kind, name in (
            (ResourceType.TOPIC, "not-ours"),
            (ResourceType.TRANSACTIONAL_ID, "gw-denied"),
            (ResourceType.GROUP, "busbridge.gw-denied.normal"),
        )
    ]
    admin = AdminClient({"bootstrap.servers": kafka.address})
    for done in admin.create_acls(denials).values():
        done.result(30)
    found = check(kafka.address, gateway="gw-denied", extra='dead_letter_topic = "not-ours"\n')
    assert found.returncode == 3
    assert "topic not-ours: this account may not use it" in found.stderr
    assert 'may not use the transactional id "gw-denied"' in found.stderr
    assert "may not use the group 'busbridge.gw-denied.normal'" in found.stderr
    assert "Traceback" not in found.stderr


def test_nobody_there(own_kafka, check):
    done = check(own_kafka.address)
    assert done.returncode == 3
    assert f"Kafka cannot be used: {own_kafka.address}: " in done.stderr
    assert "refused" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_rights_that_are_lacking_are_named(kafka, check, make_topic):
    topics = {name: f"{name}-{time.time_ns()}" for name in ("state", "desired", "commands", "outcomes")}
    for name in topics.values():
        make_topic(kafka.address, name)
    config = (
        '[state]\ntopic = "{state}"\n[downlink]\ndesired_topic = "{desired}"\ncommand_topic = "{commands}"\n'
        'outcome_topic = "{outcomes}"\n'
    ).format(**topics)
    done = check(kafka.address, gateway="gw-rights", extra=config)
    assert done.returncode == 0, done.stderr
    assert "positions: allowed in the group busbridge.gw-rights.commands" in done.stdout
    allow, deny, group = AclPermissionType.ALLOW, AclPermissionType.DENY, "busbridge.gw-rights.downlink"
    bindings = [
        (ResourceType.TOPIC, topics["state"], AclOperation.WRITE, allow),
        (ResourceType.TOPIC, topics["desired"], AclOperation.DESCRIBE, allow),
        (ResourceType.TOPIC, topics["commands"], AclOperation.READ, allow),
        (ResourceType.TOPIC, topics["outcomes"], AclOperation.READ, allow),
        (ResourceType.GROUP, group, AclOperation.ALL, deny),
    ]
    acls = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, permission)
        for kind, name, operation, permission in bindings
    ]
    admin = AdminClient({"bootstrap.servers": kafka.address})
    for made in admin.create_acls(acls).values():
        made.result(30)
    done = check(kafka.address, gateway="gw-rights", extra=config)
    assert done.returncode == 3
    assert f"topic {topics['state']}: this account lacks Read (documents of other gateways" in done.stderr
    assert f"topic {topics['desired']}: this account lacks Read (desired states come" in done.stderr
    assert f"topic {topics['outcomes']}: this account lacks Write (outcomes" in done.stderr
    assert f"topic {topics['commands']}: there, 1 partitions" in done.stdout
    assert f"may not use the group '{group}'" in done.stderr
    done = check(kafka.address, gateway="gw-rights", extra=config.replace("[downlink]", "roaming = false\n[downlink]"))
    assert topics["state"] not in done.stderr
