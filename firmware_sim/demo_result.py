"""Result: what a demonstration came to, and how it is shown."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from bridge.security.envelope import HEADER_KEY, Opener
from firmware_sim.arrival import Arrival
from firmware_sim.demo_screen import Screen
from firmware_sim.findings import Delay, Findings
from firmware_sim.report import findings_table, milliseconds

_SHOWN_BYTES = 40


class Result(msgspec.Struct, frozen=True):
    """Everything that is told at the end."""

    findings: Findings
    cpu_us: dict[str, float]
    """CPU microseconds per acknowledged message, by process."""
    calm: Delay | None
    """From a message's publication to a reader's having it, for what was not published in or just after the outage."""
    outage: Delay | None
    """The same for what was."""
    outage_s: float
    kafka: str
    document: dict[str, Any]
    sample: Arrival | None


def show_sample(result: Result, screen: Screen, opener: Opener) -> None:
    """Show one sealed record, and what is in it for who has the key."""
    sample = result.sample
    if sample is None:
        return
    headers = {name: value.decode(errors="replace") for name, value in sample.headers.items() if name != HEADER_KEY}
    value = sample.value or b""
    screen.say(f"\nOne record as it is in Kafka ({sample.place}, key {sample.key}):", "bold")
    screen.say(f"  headers  {json.dumps(headers)}")
    screen.say(f"  value    {value[:_SHOWN_BYTES].hex()}… ({len(value)} bytes, sealed)")
    screen.say(f"  opened   {sample.content(opener)[0].decode()}")


def show_document(result: Result, screen: Screen) -> None:
    """Show one device's document."""
    screen.say("\nOne device's document, from the compacted topic:", "bold")
    screen.say(json.dumps(result.document, indent=2, ensure_ascii=False))


def show_table(result: Result, screen: Screen) -> None:
    """Show the audit's table, and examples of what is wrong."""
    found = result.findings
    rows = [
        ("devices", f"{found.devices:,}", True),
        ("published", f"{found.published:,}", True),
        ("acknowledged", f"{found.acknowledged:,}", True),
        ("in Kafka", f"{found.arrived:,}", True),
        ("… of them sealed, and opened", f"{found.sealed:,}", True),
    ]
    if found.resent:
        rows.append(("… sent again by a device, and twice there (QoS 1)", f"{found.resent:,}", True))
    rows += [(name, f"{wrong.count:,}", not wrong.count) for name, wrong in found.wrongs().items()]
    rows.append(("device documents compared", f"{found.documents or 0:,}", bool(found.documents)))
    rows += [(f"CPU per message, {name}", f"{us:,.1f} µs", True) for name, us in result.cpu_us.items()]
    for name, delay in (
        ("published → acknowledged, p50 / p99", found.to_acknowledged),
        ("published → read from Kafka, p50 / p99", result.calm),
        (f"… in and after the outage of {result.outage_s:g} s", result.outage),
    ):
        if delay is not None:
            rows.append((name, milliseconds(delay), True))
    screen.console.print()
    screen.console.print(findings_table(rows))
    screen.say(f"Read by a consumer with read_committed that reads along; Kafka is {result.kafka}.", "dim")
    screen.say("CPU: so few messages a second share no fdatasync; ./dev bench ingest shows the cost under load.", "dim")
    for name, wrong in found.wrongs().items():
        for example in wrong.examples:
            screen.say(f"{name}: {example}", "red")
