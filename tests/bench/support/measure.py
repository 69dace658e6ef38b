"""One measurement: a load on a server, and what it cost each process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.bench.support import load
from tests.bench.support.kafka import Position
from tests.bench.support.load import Load, Measured
from tests.bench.support.processes import cpu_seconds, resident_bytes
from tests.bench.support.site import Site

CATCH_UP_TIMEOUT_S = 120.0


class Case(msgspec.Struct, frozen=True):
    """A column of the benchmark: how devices connect and how much each has in flight."""

    transport: str
    """ "plain", "tls" (mutual), "ws", "wss" (mutual)."""
    window: int


class Forwarding(msgspec.Struct, frozen=True):
    """What the forwarder did meanwhile."""

    records: int
    """Committed in Kafka while the load was measured."""
    records_per_s: float
    records_per_transaction: float
    bus_us_per_record: float
    """CPU of the bus side for each of them."""
    behind: int
    """Messages acknowledged and not yet committed in Kafka when the load ended."""
    catch_up_s: float
    """From then until all were."""


class Result(msgspec.Struct, frozen=True):
    """What one server did under one case's load."""

    server: str
    case: Case
    measured: Measured
    cpu_us_per_message: dict[str, float]
    """By process; for each message acknowledged while the load was measured."""
    resident_bytes: dict[str, int]
    """By process, when the load ended."""
    forwarding: Forwarding | None


class _Meter:
    """Readings of everything at the beginning and at the end of the measurement."""

    def __init__(self, processes: Mapping[str, tuple[int, ...]], position: Position | None) -> None:
        self._processes = processes
        self._position = position
        self._cpu: list[dict[str, float]] = []
        self._positions: list[int] = []
        self._transactions: list[int] = []

    def read(self) -> None:
        """Called twice, when the load says that its measurement begins and ends."""
        self._cpu.append({role: sum(map(cpu_seconds, pids)) for role, pids in self._processes.items()})
        if self._position is not None:
            self._positions.append(self._position.read())
            self._transactions.append(self._position.transactions())

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds between the two readings, by process."""
        before, after = self._cpu
        return {role: after[role] - before[role] for role in after}

    def forwarded(self) -> int:
        """Records forwarded between the two readings."""
        before, after = self._positions
        return after - before

    def transactions(self) -> int:
        """Kafka transactions between the two readings."""
        before, after = self._transactions
        return after - before


def measure(
    server: str,
    case: Case,
    wanted: Load,
    generator: Path,
    site: Site,
    processes: Mapping[str, tuple[int, ...]],
    position: Position | None = None,
) -> Result:
    """Runs the load against the server that listens at the site's ports; `position` where something is forwarded."""
    meter = _Meter(processes, position)
    base = position.read() if position is not None else 0
    transport = case.transport
    ca, devices = (site.ca, site.devices) if transport in ("tls", "wss") else (None, None)
    websocket = transport in ("ws", "wss")
    command = load.command(generator, wanted, site.ports[transport], ca, devices, websocket=websocket)
    measured, total = load.run(command, meter.read, meter.read)
    forwarding = _forwarding(meter, measured, position, base + total) if position is not None else None
    cpu_s = {**meter.cpu_s(), "loadgen": measured.cpu_s}
    resident = {role: sum(map(resident_bytes, pids)) for role, pids in processes.items()}
    # None acknowledged is a result too (a stalled server), not a division by zero.
    per_message = {role: seconds * 1e6 / max(1, measured.messages) for role, seconds in cpu_s.items()}
    return Result(server, case, measured, per_message, resident, forwarding)


def _forwarding(meter: _Meter, measured: Measured, position: Position, goal: int) -> Forwarding:
    """What was forwarded; waits until everything is. `goal` is the position behind the last message acknowledged."""
    behind = max(0, goal - position.read())
    catch_up_s = position.wait(goal, CATCH_UP_TIMEOUT_S)
    records = meter.forwarded()
    return Forwarding(
        records=records,
        records_per_s=records / measured.elapsed_s,
        records_per_transaction=records / max(1, meter.transactions()),
        bus_us_per_record=meter.cpu_s()["bus"] * 1e6 / max(1, records),
        behind=behind,
        catch_up_s=catch_up_s,
    )
