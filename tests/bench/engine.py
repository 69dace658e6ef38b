"""`./dev bench engine`: µs of CPU the MQTT engine takes for each message, without sockets and without a disk.

One session, one topic, 128-byte payloads; the bytes of one or ten packets in each call, as a socket would give them.
The best of several runs stands for the cost of the code, the others for what else the machine was doing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.encode import encode
from bridge.mqtt.events import Released
from bridge.mqtt.properties import Property
from bridge.mqtt.session import Session
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription
from tests.bench.support import packet_kinds
from tests.bench.support.machine import machine
from tests.bench.support.packet_kinds import Kind

RESULTS = Path(__file__).parents[2] / "bench-results"
TOPIC = "devices/dev-00001/telemetry/temperature"
LIMITS = Mqtt()
AIMS_US = {"receive": 2.0, "acknowledge": 0.6}
"""For QoS 1."""


class Case(msgspec.Struct, frozen=True):
    """What is measured."""

    version: int
    qos: int
    packets_per_call: int
    properties: bool = False

    @property
    def name(self) -> str:
        """For the table."""
        said = "5" if self.version == 5 else "3.1.1"
        return f"MQTT {said}, QoS {self.qos}" + (", properties" if self.properties else "")


class Result(msgspec.Struct, frozen=True):
    """Microseconds a message."""

    case: Case
    receive_us: float
    acknowledge_us: float
    """With `take_output`; at QoS 2 the whole hand-shake."""
    deliver_us: float
    """The way to a subscriber: `deliver`, `take_output` and the subscriber's acknowledgements."""


CASES = (
    *(Case(version, qos, count) for version in (4, 5) for qos in (0, 1, 2) for count in (1, 10)),
    Case(5, 1, 1, properties=True),
    Case(5, 1, 10, properties=True),
)


def _session(version: int) -> Session:
    session = Session(LIMITS)
    session.receive(encode(packets.Connect("bench", version=version), version), 0.0)
    session.accept(SessionState("bench", version, 0, LIMITS), present=False, now=0.0)
    session.take_output()
    return session


def _message(case: Case, packet_id: int, payload: bytes) -> Message:
    options: dict[int, object] | None = None
    if case.properties:
        options = {Property.CONTENT_TYPE: "application/json", Property.USER_PROPERTY: [("unit", "celsius")]}
    return Message(TOPIC, payload, case.qos, packet_id=packet_id if case.qos else 0, properties=options)


def _inbound(case: Case, payload: bytes, calls: int) -> tuple[float, float]:
    """(seconds in `receive`, seconds until all is acknowledged)."""
    session, clock = _session(case.version), time.perf_counter
    ids = range(1, case.packets_per_call + 1)
    data = b"".join(encode(_message(case, packet_id, payload), case.version) for packet_id in ids)
    releases = b"".join(encode(packets.Pubrel(packet_id), case.version) for packet_id in ids) if case.qos == 2 else b""
    received = acknowledged = 0.0
    for _ in range(calls):
        start = clock()
        events = session.receive(data, 1.0)
        middle = clock()
        for message in events:
            assert isinstance(message, Message)
            session.acknowledge(message)
        session.take_output()
        if releases:
            for event in session.receive(releases, 1.0):
                assert isinstance(event, Released)
                session.complete(event.packet_id)
            session.take_output()
        acknowledged += clock() - middle
        received += middle - start
    return received, acknowledged


def _outbound(case: Case, payload: bytes, calls: int) -> float:
    """Seconds for messages to a subscriber, its acknowledgements with them."""
    session, clock = _session(case.version), time.perf_counter
    message, subscription = _message(case, 0, payload), Subscription("#", 2)
    spent = 0.0
    for _ in range(calls):
        start = clock()
        for _ in range(case.packets_per_call):
            session.deliver(message, subscription)
        session.take_output()
        spent += clock() - start
        assert session.state is not None
        answers = _answers(case, tuple(session.state.in_flight))
        start = clock()
        for answer in answers:
            session.receive(answer, 1.0)
        session.take_output()
        spent += clock() - start
    return spent


def _answers(case: Case, packet_ids: Sequence[int]) -> list[bytes]:
    kinds: dict[int, tuple[Callable[[int], packets.Packet], ...]] = {
        0: (),
        1: (packets.Puback,),
        2: (packets.Pubrec, packets.Pubcomp),
    }
    return [b"".join(encode(kind(one), case.version) for one in packet_ids) for kind in kinds[case.qos]]


def measure(case: Case, payload: bytes, messages: int, runs: int) -> Result:
    """The best of `runs`, each of `messages` messages."""
    calls = max(1, messages // case.packets_per_call)
    scale = 1e6 / (calls * case.packets_per_call)
    inbound = [_inbound(case, payload, calls) for _ in range(runs)]
    outbound = [_outbound(case, payload, calls) for _ in range(runs)]
    received, acknowledged = (min(column) * scale for column in zip(*inbound, strict=True))
    return Result(case, received, acknowledged, min(outbound) * scale)


def _show(results: Sequence[Result], kinds: list[Kind], console: Console) -> None:
    table = Table("case", "packets/call", "receive µs", "acknowledge µs", "deliver µs", box=box.SIMPLE)
    for result in results:
        figures = (result.receive_us, result.acknowledge_us, result.deliver_us)
        table.add_row(result.case.name, str(result.case.packets_per_call), *(f"{figure:.2f}" for figure in figures))
    console.print(table)
    prices = Table("packet", "3.1.1 µs", "5 µs", box=box.SIMPLE)
    for packet, old, new in packet_kinds.by_packet(kinds):
        prices.add_row(packet, f"{old:.2f}", f"{new:.2f}")
    console.print("Each kind of packet, one in each call, decoded and answered:", prices)
    console.print(f"Aims at QoS 1: receive {AIMS_US['receive']} µs, acknowledge {AIMS_US['acknowledge']} µs a message.")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench engine", description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000, help="in each run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--payload", type=int, default=128, help="bytes a message")
    parser.add_argument("--json", type=Path, default=RESULTS / "engine.json", help="every figure goes to this file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures every case; returns the exit code."""
    options = _arguments(argv)
    payload = bytes(options.payload)
    results = [measure(case, payload, options.messages, options.runs) for case in CASES]
    kinds = packet_kinds.measure(payload, options.runs)
    _show(results, kinds, Console())
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "results": results, "kinds": kinds}
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
