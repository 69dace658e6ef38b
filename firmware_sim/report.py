"""What people see of a fleet and of an audit: a line, a table. Plain text where no terminal is."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from firmware_sim.findings import Delay, Findings
from firmware_sim.fleet import Figures

WIDTH_WITHOUT_TERMINAL = 120


def console() -> Console:
    """Return a console for standard output; wide enough where it is a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL, highlight=False)


def progress_line(figures: Figures, trouble: str = "") -> str:
    """Say where a fleet stands, in one line."""
    line = (
        f"{figures.connected}/{figures.devices} connected, {figures.published:,} published, "
        f"{figures.acknowledged:,} acknowledged, {figures.unacknowledged:,} in flight"
    )
    for name, count in (("waiting", figures.waiting), ("sent again", figures.resent), ("refused", figures.refused)):
        line += f", {count:,} {name}" if count else ""
    return f"{line} ({trouble})" if trouble else line


def print_findings(found: Findings) -> None:
    """Print the audit's table, and below it examples of what is wrong."""
    out = console()
    out.print(findings_table(rows(found)))
    for name, wrong in found.wrongs().items():
        for example in wrong.examples:
            out.print(f"{name}: {example}", markup=False, style="red")
        if wrong.count > len(wrong.examples):
            out.print(f"{name}: … and {wrong.count - len(wrong.examples):,} more", style="red")


def findings_table(lines: Iterable[tuple[str, str, bool]]) -> Table:
    """Return a table of (name, value, good) rows."""
    table = Table("", "", show_header=False)
    table.columns[1].justify = "right"
    for name, value, good in lines:
        table.add_row(name, value if good else f"[bold red]{value}[/]")
    return table


def rows(found: Findings) -> list[tuple[str, str, bool]]:
    """Return (name, value, good) of everything an audit says."""
    counts = {
        "devices": found.devices,
        "published": found.published,
        "acknowledged": found.acknowledged,
        "arrived": found.arrived,
        "… of them sealed": found.sealed,
        "… of these by the device": found.sealed_by_device,
        "sent again and twice there (QoS 1)": found.resent,
        "refused": found.refused,
        "of other runs": found.foreign,
    }
    always = ("devices", "published", "acknowledged", "arrived")
    lines = [(name, f"{count:,}", True) for name, count in counts.items() if count or name in always]
    lines += [(name, f"{wrong.count:,}", not wrong.count) for name, wrong in found.wrongs().items()]
    if found.documents is not None:
        lines.append(("device documents compared", f"{found.documents:,}", True))
    for name, delay in (("acknowledged", found.to_acknowledged), ("read from Kafka", found.to_kafka)):
        if delay is not None:
            lines.append((f"published → {name}, p50 / p99", milliseconds(delay), True))
    return lines


def milliseconds(delay: Delay) -> str:
    """Write both percentiles of a delay."""
    return f"{delay.p50_ms:,.1f} / {delay.p99_ms:,.1f} ms"
