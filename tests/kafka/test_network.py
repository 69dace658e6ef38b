"""The network between gateway and Kafka: a black hole, also while nothing is sent, and a name that moves."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.kafka import Broker
from tests.support.kafka.ledger import exactly_once_in_order
from tests.support.kafka.relay import Relay
from tests.support.ports import free_port

DEVICES = [f"dev-{number:05d}" for number in range(5)]
NAME = "kafka.example"
# A name service of the process's own: a mount namespace whose /etc/hosts is a file of the test.
OWN_NAMES = ("unshare", "--mount", "--", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"')


@pytest.fixture
def behind(tmp_path):
    """`behind(name, port)`: a broker that says of itself that it is there, and its port; itself it knows by its own."""
    brokers = []

    def start(name, port):
        own, outside = free_port(), free_port()
        properties = {
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{own},OUTSIDE://{name}:{port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,OUTSIDE:PLAINTEXT",
        }
        broker = Broker(tmp_path / "kafka", port=own, properties=properties, listeners={"OUTSIDE": outside})
        brokers.append(broker)
        broker.start()
        return broker.address, outside

    yield start
    for broker in brokers:
        broker.kill()


def test_a_black_hole_in_the_middle_and_while_nothing_is_sent(behind, make_site, read):
    relay = Relay(0)
    address, relay.target = behind("127.0.0.1", relay.port)
    site = make_site(f"127.0.0.1:{relay.port}", topic="telemetry", extra='heartbeat = "500 ms"\n')
    bus = site.start()
    site.feed.publish(DEVICES, 3)
    site.wait()
    # Nothing is sent: only the heartbeat can notice.
    relay.swallows = True
    site.wait_for("away")
    assert bus.health.tried_what
    relay.swallows = False
    site.wait_for("connected")
    # In the middle of sending.
    site.feed.publish(DEVICES, 200)
    site.tell()
    relay.swallows = True
    bus.listen(0.2)
    site.feed.publish(DEVICES, 3)
    site.tell()
    site.wait_for("away")
    relay.swallows = False
    site.wait(60)
    assert exactly_once_in_order(read(address, "telemetry"), site.feed.written)
    assert site.said("is away") == site.said("is connected") - 1 == 2
    relay.close()


def test_a_name_that_moves(behind, make_site, read, tmp_path):
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this account may not make a mount namespace, which gives the gateway names of its own")
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {NAME}\n")
    old = Relay(0)
    address, old.target = behind(NAME, old.port)
    site = make_site(f"{NAME}:{old.port}", topic="telemetry")
    site.start([*OWN_NAMES, str(hosts)])
    site.feed.publish(DEVICES, 3)
    site.wait()
    # The cluster moves: nobody at the old address, and for a while the name says nothing.
    hosts.write_text("127.0.0.1 localhost\n")
    old.close()
    site.feed.publish(DEVICES, 3)
    site.tell()
    site.wait_for("away")
    site.bus.listen_until(lambda: "cannot be resolved" in site.bus.health.detail)
    new = Relay(old.target, "127.0.0.3", old.port)
    hosts.write_text(f"127.0.0.1 localhost\n127.0.0.3 {NAME}\n")
    site.wait(60)
    new.close()
    assert exactly_once_in_order(read(address, "telemetry"), site.feed.written)
    assert site.said("is connected") == 2
