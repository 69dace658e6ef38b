"""A lane that drops its oldest, in a real daemon whose bus side stands still: nobody waits, and each loss is told."""

from __future__ import annotations

import json
import os
import signal

from tests.bench.support.processes import children
from tests.interop.conftest import NewGateway
from tests.interop.gateway import wait_until
from tests.interop.wire import PUBCOMP, PUBREC, Wire, pubrel

DROPPING = """
[mqtt]
max_packet_size = "64 KiB"
receive_maximum = 1000
[queue]
free_space_floor = "1 MiB"
segment_bytes = "1 MiB"
[lanes.alarm]
segment_bytes = "256 KiB"
max_bytes = "1 MiB"
on_full = "drop_oldest"
"""
COUNT = 150
PAYLOAD = bytes(16 << 10)


def test_all_are_acknowledged_and_each_is_forwarded_or_in_a_gap(new_gateway: NewGateway) -> None:
    gateway = new_gateway(DROPPING).start()
    wait_until(lambda: "bus side is" in gateway.log(), "the bus side has begun")
    [bus_side] = children(gateway.pid)
    os.kill(bus_side, signal.SIGSTOP)
    with Wire(gateway.port, "one") as one:
        one.connected()
        for number in range(1, COUNT + 1):
            one.publish("devices/one/alarm/a", PAYLOAD + b"%04d" % number, 2, number)
        assert one.packet_ids(PUBREC, COUNT) == list(range(1, COUNT + 1))
        one.send(pubrel(1))
        assert one.packet_ids(PUBCOMP, 1) == [1], "its message is long gone, its hand-shake is not"
    assert "are dropped, gap records will say whose" in gateway.log()
    os.kill(bus_side, signal.SIGCONT)

    def came() -> list[int]:
        return [int(payload[-4:]) for payload in gateway.forwarded("alarm")]

    wait_until(lambda: came()[-1:] == [COUNT], "the last one is forwarded")
    assert came() == list(range(came()[0], COUNT + 1))
    gaps = [json.loads(payload) for payload in gateway.forwarded("busbridge-events")]
    gaps = [gap for gap in gaps if gap["type"] == "gap"]
    assert sum(gap["count"] for gap in gaps) == came()[0] - 1
    assert {(gap["device"], gap["route"], gap["lane"], gap["reason"]) for gap in gaps} == {
        ("one", "alarm", "alarm", "queue-full")
    }
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log(), gateway.log()
