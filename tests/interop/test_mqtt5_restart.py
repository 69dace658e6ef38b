"""A session over stops and kills of the daemon, on the wire."""

from __future__ import annotations

import time

from tests.interop.conftest import NewGateway
from tests.interop.wire import PUBACK, PUBLISH, SUBACK, Wire, subscribe

TOPIC = "devices/dev-1/chat"


def test_queue_and_subscription_survive_a_stop_and_a_kill(new_gateway: NewGateway) -> None:
    gateway = new_gateway('[acl]\npublish = ["devices/#"]\n').start()
    with Wire(gateway.port, "dev-1", version=5, expiry_s=600) as wire:
        assert not wire.connected()
        wire.send(subscribe(TOPIC, 1, version=5))
        assert wire.receive()[0] == SUBACK
    gateway.kill()  # what SUBACK promised is on disk
    gateway.start()
    with Wire(gateway.port, "talker", version=5) as talker:
        talker.connected()
        for number in range(3):
            talker.publish(TOPIC, b"%d" % number, 1, number + 1)
            assert talker.receive()[0] == PUBACK
    assert gateway.stop() == 0
    gateway.start()
    with Wire(gateway.port, "dev-1", version=5, clean=False, expiry_s=600) as wire:
        assert wire.connected()
        assert [wire.receive()[1][-1:] for _ in range(3)] == [b"0", b"1", b"2"]
        time.sleep(0.5)  # longer than it takes to be written
    gateway.kill()
    gateway.start()
    with Wire(gateway.port, "dev-1", version=5, clean=False, expiry_s=600) as wire:
        assert wire.connected()
        repeated = [wire.receive() for _ in range(3)]
        assert [(kind, body[-1:]) for kind, body in repeated] == [(PUBLISH, b"0"), (PUBLISH, b"1"), (PUBLISH, b"2")]
