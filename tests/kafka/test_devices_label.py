"""`busbridge devices label` on a real Kafka with a gateway: what is set stays, what is wrong is said."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.interop.gateway import CHECKOUT
from tests.interop.paho_device import Device
from tests.support.kafka.fleet_site import Fleet


@pytest.fixture
def fleet(kafka, tmp_path, read):
    fleet = Fleet(tmp_path, kafka, read)
    yield fleet
    fleet.end()


def devices(fleet, *words, code=0):
    """A `busbridge devices` command with the first gateway's configuration."""
    command = [sys.executable, "-m", "bridge", "devices", *words, "--config", str(fleet.gateways[0].config), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=120)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def test_labels_are_set_and_taken_off_and_others_stay(fleet):
    gateway = fleet.start("gw-a")
    with Device(gateway.port, "dev-1"):
        fleet.documents.wait(lambda docs: docs["dev-1"])
        north = {"site": "north", "model": "x1"}
        assert devices(fleet, "label", "dev-1", "site=north", "model=x1", "--wait", "30 s") == {"dev-1": north}
        assert fleet.documents.latest()["dev-1"]["labels"] == north
        both = devices(fleet, "label", "dev-1", "dev-2", "site=south", "model-")
        assert both == {"dev-1": {"site": "south"}, "dev-2": {"site": "south"}}
        fleet.documents.wait(lambda docs: docs["dev-1"]["labels"] == {"site": "south"})
        said = devices(fleet, "label", "dev-2", "x=y", "--wait", "500 ms", code=1)
        assert "no gateway knows dev-2 yet" in said
    with Device(gateway.port, "dev-2"):
        fleet.documents.wait(lambda docs: docs["dev-2"]["labels"] == {"site": "south", "x": "y"})
    assert devices(fleet, "label", "dev-1", "site-", "--wait", "30 s") == {"dev-1": {}}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("dev-1",), "which devices, and which labels?"),
        (("site=north",), "which devices, and which labels?"),
        (("dev-1", "a b=c"), "the label's key 'a b' is not"),
        (("dev-1", "a="), "the value '' of the label a is not"),
        (("dev-1", "a=b", "a-"), "a is to be set and to be taken off"),
        (("dev-1", *(f"k{number}=v" for number in range(40))), "there are 40 labels, more than 32"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_written(fleet, tmp_path, words, why):
    config = tmp_path / "gw.toml"
    config.write_text(
        f'[gateway]\nid = "x"\n[[listeners]]\nbind = "127.0.0.1:1"\nanonymous = true\n'
        f'[state]\ntopic = "{fleet.name}-state"\n'
        f'[kafka]\nbootstrap_servers = ["{fleet.server}"]\n[downlink]\ndesired_topic = "{fleet.name}-desired"\n'
    )
    command = [sys.executable, "-m", "bridge", "devices", "label", *words, "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=60)
    assert (done.returncode, why in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr
    assert fleet.read(f"{fleet.name}-desired") == []


def test_a_command_to_a_group_is_waited_for_on_every_gateway(fleet):
    a, b = fleet.start("gw-a"), fleet.start("gw-b")
    with Device(a.port, "dev-1") as one, Device(b.port, "dev-2") as two, Device(b.port, "dev-3"):
        for device, name in ((one, "dev-1"), (two, "dev-2")):
            device.client.on_message = lambda client, _user, message: client.publish(
                f"{message.topic}/result", b'{"status": "succeeded"}', 1
            )
            assert device.subscribe(f"devices/{name}/commands/+", 1) == 1
        fleet.documents.wait(lambda docs: {"dev-1", "dev-2", "dev-3"} < docs.keys())
        devices(fleet, "label", "dev-1", "dev-2", "site=north", "--wait", "30 s")
        whole = devices(fleet, "send", "group/site=north", "reboot", "--deadline", "60 s")
        assert (whole["devices"], whole["counts"]) == (2, {"succeeded": 2})
        assert {name: each["devices"] for name, each in whole["gateways"].items()} == {"gw-a": 1, "gw-b": 1}
        said = devices(fleet, "send", "group/all", "reboot", "--deadline", "2 s", code=1)
        assert "2 succeeded" in said
        assert "1 expired" in said
        assert "no device is in the group" in devices(fleet, "send", "group/site=none", "reboot", code=1)
        assert "neither 'all' nor KEY=VALUE" in devices(fleet, "send", "group/everyone", "reboot", code=2)
        assert "--local sends to one device" in devices(fleet, "send", "group/all", "reboot", "--local", code=2)
        b.kill()
        assert "gw-b said nothing in the end" in devices(
            fleet, "send", "group/site=north", "x", "--deadline", "1 s", code=1
        )


def test_what_is_desired_of_a_group_is_waited_for_on_every_device(fleet):
    a, b = fleet.start("gw-a"), fleet.start("gw-b")
    with Device(a.port, "dev-1") as one, Device(b.port, "dev-2"), Device(b.port, "dev-3"):
        fleet.documents.wait(lambda docs: {"dev-1", "dev-2", "dev-3"} < docs.keys())
        devices(fleet, "label", "dev-1", "dev-2", "site=north", "--wait", "30 s")
        for version, interval_s in ((1, 60), (2, 90)):
            state = json.dumps({"interval_s": interval_s})
            done = devices(fleet, "set", "group/site=north", state, "--wait", "30 s")
            assert (done["version"], done["outcome"]) == (version, "taken")
            documents = fleet.documents.latest()
            assert [documents[f"dev-{number}"]["desired"]["state"] for number in (1, 2)] == [
                {"interval_s": interval_s}
            ] * 2
        assert documents["dev-3"]["desired"] is None
        assert one.publish("devices/dev-1/state/reported", b'{"interval_s": 90}', 1) == 0
        said = devices(fleet, "set", "group/site=north", "--patch", "{}", "--wait", "2 s", "--in-step", code=1)
        assert "1 of the group's 2 devices have not followed yet: dev-2" in said
        assert devices(fleet, "set", "group/site=north", "--remove", "--wait", "30 s")["outcome"] == "in-step"
        assert fleet.documents.latest()["dev-2"]["desired"] is None
        assert "neither 'all' nor KEY=VALUE" in devices(fleet, "set", "group/everyone", "{}", code=2)
        assert "--local sets" in devices(fleet, "set", "group/all", "{}", "--local", code=2)
