"""Wills over a kill and over a stop of the daemon."""

from __future__ import annotations

import pytest

from tests.interop.conftest import NewGateway
from tests.interop.gateway import Gateway
from tests.interop.wire import DISCONNECT, Wire, packet

RULES = '[acl]\npublish = ["devices/#"]\nsubscribe = ["devices/#"]\n'


def watch(gateway: Gateway) -> Wire:
    """A session that stays and hears all wills."""
    wire = Wire(gateway.port, "watch", version=5, clean=False, expiry_s=600)
    if not wire.connected():
        assert wire.subscribe("devices/+/telemetry/last", 1) == 1
    return wire


def connect(gateway: Gateway, name: str, delay_s: int = 0) -> Wire:
    """A session that stays; its will goes by a route too."""
    will = (f"devices/{name}/telemetry/last", b"gone")
    wire = Wire(gateway.port, name, version=5, clean=False, expiry_s=600, will=will, will_delay_s=delay_s, will_qos=1)
    wire.connected()
    return wire


def heard(wire: Wire, timeout_s: float = 10.0) -> str:
    """Whose will comes next."""
    return wire.publication(timeout_s).topic.split("/")[1]


def test_wills_outlive_a_kill(new_gateway: NewGateway) -> None:
    """Of who was connected and of who was gone; who is back in time has none, nor has who said good-bye."""
    gateway = new_gateway(RULES).start()
    with watch(gateway):
        pass
    connect(gateway, "gone-before", delay_s=4).sock.close()
    connect(gateway, "back-in-time", delay_s=60).sock.close()
    with connect(gateway, "polite") as polite:
        polite.send(packet(DISCONNECT))
        with pytest.raises(ConnectionError):
            polite.receive()
    with connect(gateway, "was-there"):
        gateway.kill()
    gateway.start()
    with watch(gateway) as watching, connect(gateway, "back-in-time"):
        assert heard(watching) == "was-there"
        assert heard(watching) == "gone-before"
        assert watching.silent(0.5)
        # Before "back-in-time" goes again, this time without a good-bye and with a will that is due.
        assert [device for device, _ in gateway.messages()] == ["was-there", "gone-before"]


def test_a_stop_says_good_bye_and_publishes_no_will_of_who_was_there(new_gateway: NewGateway) -> None:
    """As mosquitto; what waited for its delay before waits on."""
    gateway = new_gateway(RULES).start()
    with watch(gateway):
        pass
    connect(gateway, "gone-before", delay_s=3).sock.close()
    with connect(gateway, "was-there"):
        assert gateway.stop() == 0
    gateway.start()
    with watch(gateway) as watching:
        assert heard(watching) == "gone-before"
        assert watching.silent(0.5)
    assert [device for device, _ in gateway.messages()] == ["gone-before"]
