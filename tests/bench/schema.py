"""`./dev bench schema`: µs of CPU that a route's schema, trace or format takes for each message.

The device side's real pipeline appends to a real log; only the socket is left out. Cases take turns, and the best of
several turns stands for the code, the others for what else the machine was doing.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import fastavro
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from bridge.bus_side.forms import Forms
from bridge.bus_side.record_batch import RecordBatch, encode_stream, with_trace
from bridge.bus_side.records import Shapes, trace_of
from bridge.config import Acl as AclRules
from bridge.config import Config, Gateway, Queue, Route, SchemaRegistry
from bridge.config import Schema as Settings
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore
from bridge.device_side.pipeline import Pipeline
from bridge.device_side.uplink import Uplink
from bridge.durable import replace_file
from bridge.log.record import MESSAGE, Record, encode_context, encode_headers
from bridge.log.settings import LogSettings
from bridge.message import Message
from bridge.routing import Routing
from bridge.schemas.of_routes import open_registry, schemas_of
from bridge.schemas.schema import Pending, Schema
from bridge.schemas.wire_format import prefix
from bridge.security.acl import Acl
from tests.bench.support.machine import machine
from tests.support.registry import RegistryServer
from tests.unit.device_side.local import Local
from tests.unit.schemas.protos import reading_file, reading_set

RESULTS = Path(__file__).parents[2] / "bench-results"
READING = {"device": "dev-00001", "degrees": 21.5, "unit": "C", "n": 123456, "place": "hall 7, line 3, oven 12"}
JSON = {
    "type": "object",
    "required": ["device", "degrees", "n"],
    "properties": {
        "device": {"type": "string", "pattern": "^dev-[0-9]{5}$"},
        "degrees": {"type": "number", "minimum": -60, "maximum": 900},
        "unit": {"enum": ["C", "F"]},
        "n": {"type": "integer", "minimum": 0},
        "place": {"type": "string", "maxLength": 80},
    },
    "additionalProperties": False,
}
AVRO = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "device", "type": "string"},
        {"name": "degrees", "type": "double"},
        {"name": "unit", "type": {"type": "enum", "name": "Unit", "symbols": ["C", "F"]}},
        {"name": "n", "type": "long"},
        {"name": "place", "type": "string"},
    ],
}
PROTOBUF = b"\x0a\x09dev-00001\x11\x00\x00\x00\x00\x00\x80\x35\x40\x22\x19\x0a\x17hall 7, line 3, oven 12"


class Case(msgspec.Struct, frozen=True):
    """One route and what is published on it."""

    name: str
    route: Route
    payload: bytes

    @property
    def topic(self) -> str:
        """Of MQTT."""
        return self.route.filter


class Result(msgspec.Struct, frozen=True):
    """Microseconds of CPU a message."""

    case: str
    cpu_us: float
    over_plain_us: float


def cases(directory: Path) -> list[Case]:
    """The routes; writes their schema files."""
    (directory / "reading.json").write_text(json.dumps(JSON))
    (directory / "reading.avsc").write_text(json.dumps(AVRO))
    (directory / "reading.desc").write_bytes(reading_set())
    text, out = json.dumps(READING).encode(), io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(AVRO), READING)
    avro = out.getvalue()
    wanted = [
        ("no schema", text, {}),
        ("JSON Schema", text, {"schema": Settings(json=directory / "reading.json")}),
        ("Avro", avro, {"schema": Settings(avro=directory / "reading.avsc")}),
        ("Protobuf", PROTOBUF, {"schema": Settings(protobuf=directory / "reading.desc", message="site.Reading")}),
        ("registry, Avro, framed by the gateway", avro, {"schema": Settings(registry="gateway", subject="avro")}),
        ("registry, Avro, framed by the device", prefix(1) + avro, {"schema": Settings(registry="device")}),
        ("registry, Protobuf, framed by the gateway", PROTOBUF,
         {"schema": Settings(registry="gateway", subject="protobuf", message="site.Reading")}),
        ("JSON Schema, every payload a misfit", text[:-1], {"schema": Settings(json=directory / "reading.json")}),
        ("a trace begun", text, {"trace": "start"}),
    ]  # fmt: skip
    return [
        Case(name, msgspec.convert({"filter": f"bench/{number}", "topic": "t", "seal": "plain"} | more, Route), payload)
        for number, (name, payload, more) in enumerate(wanted)
    ]


@contextmanager
def pipeline(directory: Path, routes: Sequence[Case], registry_url: str) -> Iterator[tuple[Local, Pipeline]]:
    """The device side from the session's event to the log."""
    config = Config(
        Gateway("bench", directory),
        routes=tuple(case.route for case in routes),
        schema_registry=SchemaRegistry(registry_url),
    )
    cold = ColdStore(directory / "cold.sqlite", lambda error: None)
    local, clock = Local(cold), Clock()
    uplink = Uplink(local.loop, lambda lane, tokens: None)
    uplink.open_lane(
        "normal", directory / "uplink" / "normal", LogSettings.for_lane(Queue(), None),
        log_id=bytes(16), clock=clock, pending_max=1 << 40, on_failure=lambda error: None,
    )  # fmt: skip
    registry = open_registry(config, {}, replace_file, time.monotonic)
    schemas = schemas_of(config, registry)
    for case in routes:
        _know(schemas.get(case.route.filter), case.payload)
    everything = Acl(AclRules(publish=("#",)))
    made = Pipeline(
        everything, Routing(config.routes), {}, schemas, uplink, local.broker, clock, config.limits, os.urandom
    )
    try:
        yield local, made
    finally:
        uplink.close()
        local.close()
        cold.close()
        if registry is not None:
            registry.close()


def _know(schema: Schema | None, payload: bytes) -> None:
    """Waits until what the registry has to say is in memory."""
    while schema is not None:
        try:
            schema.fit(payload)
        except Pending:
            time.sleep(0.01)
        except Exception:
            return
        else:
            return


def device_side(routes: Sequence[Case], messages: int, turns: int) -> list[Result]:
    """Every case, in turn."""
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, RegistryServer() as server:
        server.add(1, "avro", AVRO)
        server.add(2, "protobuf", reading_file().SerializeToString(), "PROTOBUF")
        with pipeline(Path(name), routes, server.url) as (local, made):
            connection = local.connect("dev-00001").connection
            for _ in range(turns):
                for case in routes:
                    used = _publish(local.loop, made, connection, Message(case.topic, case.payload), messages)
                    best[case.name] = min(best.get(case.name, used), used)
    return _beside_the_first(best)


def _publish(
    loop: asyncio.AbstractEventLoop, made: Pipeline, connection: object, message: Message, count: int
) -> float:
    """Microseconds of this thread's CPU a message: the commit thread's is the same for all."""
    publish, events = made.publish, [message]
    used = 0.0
    for _ in range(count // 1000):
        before = time.thread_time()
        for _ in range(1000):
            assert publish(connection, events, 0) == 1
        used += time.thread_time() - before
        loop.run_until_complete(asyncio.sleep(0))
    return used * 1e6 / (count // 1000 * 1000)


def bus_side(messages: int, turns: int) -> list[Result]:
    """From a record of the log to its place in a batch."""
    best: dict[str, float] = {}
    context = encode_context("dev-00001", "devices/dev-00001/telemetry/t", "t")
    payload = json.dumps(READING).encode()
    traces = [encode_headers([("traceparent", b"00-%032x-%016x-01" % (seq, seq))]) for seq in range(1, messages + 1)]
    plain, event = Route("#", "t"), Route("#", "t", format="cloudevents")
    runs: list[tuple[str, Route, Callable[[int], bytes]]] = [
        ("headers", plain, lambda seq: b""),
        ("CloudEvents", event, lambda seq: b""),
        ("a trace of its own in each record", plain, lambda seq: traces[seq]),
    ]
    for _ in range(turns):
        for name, route, headers in runs:
            records = [
                Record(
                    seq,
                    MESSAGE,
                    1,
                    0,
                    1_763_730_300_123_000_000 + seq * 50_000,
                    0,
                    bytes(16),
                    context,
                    headers(seq),
                    payload,
                )
                for seq in range(messages)
            ]
            used = _append(Shapes("bench", "normal", bytes(16), 16_384, Forms([route])), records)
            best[name] = min(best.get(name, used), used)
    return _beside_the_first(best)


def _append(shapes: Shapes[object], records: Sequence[Record]) -> float:
    batch = RecordBatch(1 << 40, 0, None, transactional=True)
    before = time.thread_time()
    for record in records:
        shape = shapes.of(record)
        assert shape is not None
        if shape.place is None:
            shape.place = encode_stream(
                shape.key, shape.headers, numbered=True, tombstone=False, event_id=shape.event_id, traced=shape.traced
            )
        stream = with_trace(shape.place, trace_of(record)) if shape.traced else shape.place
        batch.append(stream, record.seq, record.payload, record.wall_ns // 1_000_000)
    return (time.thread_time() - before) * 1e6 / len(records)


def _beside_the_first(best: dict[str, float]) -> list[Result]:
    plain = next(iter(best.values()))
    return [Result(name, used, used - plain) for name, used in best.items()]


def _show(title: str, results: Sequence[Result], console: Console) -> None:
    table = Table(title=title, box=box.SIMPLE)
    for column in ("case", "CPU µs", "more", "ratio"):
        table.add_column(column, justify="left" if column == "case" else "right")
    plain = results[0].cpu_us
    for each in results:
        more = f"{each.over_plain_us:+.2f}" if each is not results[0] else ""
        table.add_row(each.case, f"{each.cpu_us:.2f}", more, f"{each.cpu_us / plain:.2f}")
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures every case; returns the exit code."""
    parser = argparse.ArgumentParser(prog="./dev bench schema", description="What a route's settings cost a message.")
    parser.add_argument("--messages", type=int, default=20_000, help="in each turn of a case")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", type=Path, default=RESULTS / "schema.json")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        device = device_side(cases(Path(name)), options.messages, options.turns)
    bus = bus_side(options.messages, options.turns)
    _show("device side: a message from the session's event to the log", device, Console())
    _show("bus side: a record from the log to its batch", bus, Console())
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "device": device, "bus": bus}
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
