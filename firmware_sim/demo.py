"""The demonstration: the main job in front of the user, with an outage in the middle, audited at the end.

    python -m firmware_sim.demo [--keep] [--real-kafka] [--devices N]

Everything is the real thing, through the real commands; only the broker is a stand-in unless --real-kafka is given.
Exit code 0 only when the audit is clean; 3 when it is not, 1 when something did not work at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import KafkaException

from bridge.security.envelope import Opener
from bridge.security.keys import load_private
from firmware_sim.audit import Auditor
from firmware_sim.child import Child, ChildError
from firmware_sim.demo_kafka import DemoKafka
from firmware_sim.demo_reader import LiveReader
from firmware_sim.demo_result import Result, show_document, show_sample, show_table
from firmware_sim.demo_screen import Screen
from firmware_sim.demo_show import DemoError, Settings, Show
from firmware_sim.demo_site import TELEMETRY, Site, SiteError
from firmware_sim.kafka_reader import KafkaReadError

FAILED, FOUND = 1, 3
_READY_S = 20.0


def main() -> None:
    """Run the demonstration with the process's arguments, and exit."""
    typer.run(demo)


def demo(
    devices: Annotated[int, typer.Option(min=3, max=2000)] = 100,
    rate: Annotated[float, typer.Option(min=1, help="Messages a second, all devices together.")] = 1500.0,
    seconds: Annotated[float, typer.Option(min=5, help="Of publishing.")] = 14.0,
    outage: Annotated[float, typer.Option(min=0, max=8, help="Seconds that Kafka does not answer.")] = 4.0,
    real_kafka: Annotated[bool, typer.Option("--real-kafka", help="Use a real Kafka (it is fetched).")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    directory: Annotated[Path | None, typer.Option("--dir", help="Keep the files in this new directory.")] = None,
) -> None:
    """A fleet over mutual TLS → gateway → Kafka, with an outage in the middle, read back, opened and audited."""
    settings = Settings(devices=devices, rate=rate, seconds=seconds, outage_s=outage)
    screen = Screen()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    try:
        with contextlib.ExitStack() as stack:
            where = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="busbridge-demo-")))
            where.mkdir(parents=True, exist_ok=True)
            clean = _demo(settings, screen, stack, where, real=real_kafka, keep=keep)
    except (DemoError, SiteError, ChildError, KafkaException, KafkaReadError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(FAILED)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("demo: interrupted", file=sys.stderr)
        sys.exit(FAILED)
    sys.exit(0 if clean else FOUND)


def _demo(
    settings: Settings, screen: Screen, stack: contextlib.ExitStack, where: Path, *, real: bool, keep: bool
) -> bool:
    """Set the stage, run the show, tell the result; everything started ends with `stack`."""
    site = Site(where, lambda command: screen.say(f"  {command}", "dim"))
    with screen.step("Kafka started"):
        kafka = DemoKafka(where, real=real)
        stack.callback(kafka.stop)
    screen.say(f"  {kafka.name} at {kafka.address}", "dim")
    with screen.step(f"gateway's configuration, reader's keys and {settings.devices} device certificates made"):
        site.make(settings.devices, kafka.address)
    with screen.step("gateway started"):
        screen.say(f"  $ busbridge run --config {site.config}", "dim")
        daemon = Child("bridge", ["run", "--config", str(site.config)], where / "gateway.out")
        stack.callback(daemon.stop)
        daemon.wait_for("is ready on", _READY_S)
    key = load_private(site.key)
    reader = LiveReader(kafka.address, TELEMETRY, Auditor(Opener([key])))
    stack.callback(reader.stop)
    show = Show(settings, screen, site, kafka, daemon, reader)
    return asyncio.run(show.run(lambda result: _tell(result, screen, Opener([key])), keep=keep))


def _tell(result: Result, screen: Screen, opener: Opener) -> None:
    show_sample(result, screen, opener)
    show_document(result, screen)
    show_table(result, screen)


if __name__ == "__main__":
    main()
