"""The figures for a person: one table, the aims beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.support.measure import Case, Forwarding, Result

DEVICE_AIMS_US = {Case("tls", 1): 25.0, Case("tls", 10): 8.0}
"""CPU of the device side for each message, microseconds, on two cores."""
BUS_AIM_US = 3.0
"""CPU of the bus side for each record forwarded, microseconds."""

LATENCY_COLUMNS = ("server", "transport", "window", "messages/s", "p50", "p90", "p99", "max")
COST_COLUMNS = ("server", "transport", "window", "device", "aim", "bus", "aim", "Kafka", "loadgen")
FORWARDING_COLUMNS = ("transport", "window", "records/s", "records/transaction", "behind", "catch-up s")


def aims_missed(results: Sequence[Result]) -> list[str]:
    """Each aim that a result of busbridge is above, in words."""
    missed = []
    for result in results:
        if result.server != "busbridge" or result.forwarding is None:
            continue
        name = f"{result.case.transport}, window {result.case.window}"
        aim, device = DEVICE_AIMS_US.get(result.case), result.cpu_us_per_message["device"]
        if aim is not None and device > aim:
            missed.append(f"{name}: device side {device:.1f} µs a message, aim {aim:.0f}")
        bus = result.forwarding.bus_us_per_record
        if bus > BUS_AIM_US:
            missed.append(f"{name}: bus side {bus:.1f} µs a record, aim {BUS_AIM_US:.0f}")
    return missed


def _beside(value: float, aim: float | None) -> tuple[str, str]:
    """A figure and its aim; green where it is met."""
    if aim is None:
        return f"{value:.1f}", ""
    colour = "green" if value <= aim else "red"
    return f"[{colour}]{value:.1f}[/]", f"≤ {aim:.0f}"


def _case(result: Result) -> list[str]:
    return [result.case.transport, str(result.case.window)]


def _latency_row(result: Result) -> list[str]:
    measured = result.measured
    durations = (measured.p50_us, measured.p90_us, measured.p99_us, measured.max_us)
    milliseconds = [f"{duration / 1000:.2f}" for duration in durations]
    return [result.server, *_case(result), f"{measured.messages_per_s:,.0f}", *milliseconds]


def _cost_row(result: Result) -> list[str]:
    cpu, forwarding = result.cpu_us_per_message, result.forwarding
    device = _beside(cpu["device"], DEVICE_AIMS_US.get(result.case) if forwarding else None)
    bus = _beside(forwarding.bus_us_per_record, BUS_AIM_US) if forwarding else ("", "")
    kafka = f"{cpu['kafka']:.1f}" if "kafka" in cpu else ""
    return [result.server, *_case(result), *device, *bus, kafka, f"{cpu['loadgen']:.1f}"]


def _forwarding_row(result: Result, forwarding: Forwarding) -> list[str]:
    rates = [f"{forwarding.records_per_s:,.0f}", f"{forwarding.records_per_transaction:,.0f}"]
    return [*_case(result), *rates, f"{forwarding.behind:,}", f"{forwarding.catch_up_s:.2f}"]


def _table(title: str, columns: Sequence[str], rows: Sequence[list[str]]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="left" if column in ("server", "transport") else "right")
    for row in rows:
        table.add_row(*row)
    return table


def show(console: Console, results: Sequence[Result]) -> None:
    """Prints the tables, then each aim that was missed."""
    ordered = sorted(results, key=lambda result: (result.case.transport, result.case.window, result.server))
    forwarded = [(result, result.forwarding) for result in ordered if result.forwarding is not None]
    console.print(
        _table("Publish to PUBACK, milliseconds", LATENCY_COLUMNS, [_latency_row(result) for result in ordered])
    )
    title = "CPU µs: of the bus side for each record forwarded, of the others for each message acknowledged"
    console.print(_table(title, COST_COLUMNS, [_cost_row(result) for result in ordered]))
    if forwarded:
        rows = [_forwarding_row(result, forwarding) for result, forwarding in forwarded]
        console.print(_table("Forwarding into Kafka", FORWARDING_COLUMNS, rows))
    for line in aims_missed(results):
        console.print(f"[red]above the aim[/]: {line}", highlight=False)


def show_ratios(console: Console, results: Sequence[Result], compared: Mapping[str, str]) -> None:
    """What each transport costs the device side beside the one that it is compared with, in the same run."""
    costs = {result.case: result.cpu_us_per_message["device"] for result in results if result.server == "busbridge"}
    for case, cost in costs.items():
        other = costs.get(Case(compared.get(case.transport, ""), case.window))
        if other:
            more = f"{cost - other:.1f} µs a message more than {compared[case.transport]}"
            name = f"{case.transport}, window {case.window}"
            console.print(f"{name}: {more}, {cost / other:.2f} times as much", highlight=False)
