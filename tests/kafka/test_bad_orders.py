"""What is wrong with what comes down, or up: each has a clear outcome, and nothing behind it waits."""

from __future__ import annotations

import json
import time

import pytest

from bridge.device_side.clock import rfc3339
from tests.interop.gateway import wait_until
from tests.interop.paho_device import V5, V311, Device
from tests.support.kafka.fleet_site import Fleet

DEEP = b'{"a":' * 200 + b"1" + b"}" * 200
LARGE = b'{"a":"' + b"x" * 900_000 + b'"}'
NOT_AUTHORIZED, BAD_PAYLOAD = 0x87, 0x99


@pytest.fixture
def fleet(kafka, tmp_path, read):
    fleet = Fleet(tmp_path, kafka, read)
    yield fleet
    fleet.end()


def outcomes_of(fleet, device, *ids):
    """The final ones, by id, when there is one of each; nobody has two."""

    def found():
        values = [value for key, _, value in fleet.outcomes() if key == device]
        final = [value for value in values if value["outcome"] not in ("queued", "delivered")]
        assert len({value["id"] or value["record"] for value in final}) == len(final)
        return {value["id"]: value for value in final}

    wait_until(lambda: found().keys() >= set(ids), "final outcomes")
    return found()


def refused_of(fleet):
    """Device, version and the version that it has, of each desired state that was too old."""
    events = [json.loads(each.value()) for each in fleet.read(f"{fleet.name}-events")]
    events = [each for each in events if each["type"] == "desired-refused"]
    return [(each["device"], each["version"], each["known"]) for each in events]


def test_reports_that_are_none(fleet):
    gateway = fleet.start("gw-a")
    with Device(gateway.port, "dev-1", V5) as device, Device(gateway.port, "dev-2", V311) as other:
        topic = "devices/dev-1/state/reported"
        for bad in (b"", b"nonsense", b"[1]", b"\xff", DEEP, LARGE):
            assert device.publish(topic, bad, 1) == BAD_PAYLOAD
        assert device.publish(topic, b'{"a":1}', 1) == 0
        assert other.publish("devices/dev-2/state/reported", b'{"b":2}', 2) == 0
        device.client.publish(topic, b'{"a":"' + b"x" * (1 << 20) + b'"}', 1)
        # Who is still sending when he is hung up on may see the reset before the DISCONNECT that came first.
        wait_until(lambda: device.disconnects, "more than a packet may have ends a connection")
        assert "over 1048576 (0x95)" in gateway.log()
        documents = fleet.documents.wait(
            lambda docs: docs["dev-1"]["reported"] and docs["dev-2"]["reported"]["state"] == {"b": 2}
        )
    assert (documents["dev-1"]["reported"]["version"], documents["dev-1"]["reported"]["state"]) == (1, {"a": 1})


def test_desired_states_that_are_none_or_nobody_s_or_too_old(fleet):
    gateway = fleet.start("gw-a")
    with Device(gateway.port, "dev-1", V5) as device:
        fleet.documents.wait(lambda docs: docs["dev-1"])
        for key in ("nobody", "#", "a/+/b", "dev-1/../dev-2", "x" * 300, ""):
            fleet.desire((key, {"version": 1, "state": {"a": 1}}))
        nested = (b'{"state":%s}' % DEEP, b'{"state":%s}' % LARGE)
        for bad in (b"{", b"\xff", b'{"version":9}', b'{"version":-1,"state":{}}', *nested):
            fleet.desire(("dev-1", bad))
        fleet.desire(("dev-1", {"version": 5, "state": {"a": 5}}), ("dev-1", {"version": 3, "state": {"a": 3}}))
        fleet.desire(("dev-1", {"version": 5, "state": {"a": "again"}}))
        device.subscribe("devices/dev-1/state/desired", 1)
        assert json.loads(device.message()[1]) == {"version": 5, "state": {"a": 5}}
        fleet.desire(("dev-1", {"version": 6, "state": {"a": 6}}))
        assert json.loads(device.message()[1]) == {"version": 6, "state": {"a": 6}}
        wait_until(lambda: refused_of(fleet), "whoever sent the older one is told")
        assert refused_of(fleet) == [("dev-1", 3, 5)]
        assert fleet.documents.latest().keys() == {"dev-1", "gateway/gw-a"}


def test_desired_states_and_commands_for_who_may_not_have_them(fleet):
    rules = '[acl]\npublish = ["#"]\nsubscribe = ["broadcast/#"]\n'
    gateway = fleet.start("gw-a", rules)
    with Device(gateway.port, "dev-1", V5) as device:
        fleet.documents.wait(lambda docs: docs["dev-1"])
        fleet.desire(("dev-1", {"version": 1, "state": {"a": 1}}))
        fleet.command(("dev-1", {"id": "c1", "name": "reboot"}))
        assert "may not subscribe" in outcomes_of(fleet, "dev-1", "c1")["c1"]["detail"]
        assert device.subscribe("devices/dev-1/state/desired", 1) == NOT_AUTHORIZED
        fleet.documents.wait(lambda docs: docs["dev-1"]["desired"]["state"] == {"a": 1})
        assert device.messages.empty()


def test_commands_that_are_none_or_too_late_or_too_large_and_answers_that_are(fleet):
    gateway = fleet.start("gw-a")
    with Device(gateway.port, "dev-1", V5) as device:
        device.subscribe("devices/dev-1/commands/+", 2)
        fleet.documents.wait(lambda docs: docs["dev-1"])
        past = rfc3339(time.time_ns() - 3_600_000_000_000)
        fleet.command(
            ("dev-1", b"{"), ("dev-1", DEEP), ("dev-1", None), ("#", {"id": "c", "name": "x"}), ("", {"id": "c"}),
            ("dev-1", {"id": "past", "name": "x", "deadline": past}),
            ("dev-1", {"id": "large", "name": "x", "payload": "x" * 100_000}),
            ("dev-1", {"id": "nameless"}),
            ("nobody", {"id": "c", "name": "x"}),
            ("dev-1", {"id": "long-answer", "name": "x"}),
            ("dev-1", {"id": "good", "name": "x"}),
        )  # fmt: skip
        asked = {}
        while asked.keys() != {"long-answer", "good"}:
            topic, payload, _, _ = device.message()
            asked[json.loads(payload)["id"]] = topic
        answer = b'{"status":"succeeded","payload":"%s"}'
        assert device.publish(f"{asked['long-answer']}/result", answer % (b"x" * 900_000), 1) == 0
        assert device.publish(f"{asked['good']}/result", answer % (b"x" * 200_000), 1) == 0
        final = outcomes_of(fleet, "dev-1", None, "past", "large", "nameless", "long-answer", "good")
    words = {name: value["outcome"] for name, value in final.items()}
    assert words == {
        None: "refused", "past": "expired", "large": "refused", "nameless": "refused", "long-answer": "failed",
        "good": "succeeded",
    }  # fmt: skip
    assert "more than 65536" in final["large"]["detail"]
    assert "more than 262144" in final["long-answer"]["detail"]
    assert len(final["good"]["payload"]) == 200_000
    assert {key for key, _, _ in fleet.outcomes()} == {"dev-1"}
