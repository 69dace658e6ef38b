"""The bus side's composition root: `python -m bridge.bus_side.main --config FILE --doorbell-fd N`.

Started by the device side, and it ends with it: when the door bell closes, and at the latest when the kernel says that
the parent is dead. Everything of this process is wired here; what only a Kafka needs, in `kafka_parts`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import uvloop

from bridge import config_file, journal
from bridge.bus_side.backoff import Backoff
from bridge.bus_side.bell import Bell
from bridge.bus_side.dead_letter_log import DeadLetterLog
from bridge.bus_side.forms import Forms
from bridge.bus_side.forwarder import Forwarder
from bridge.bus_side.lanes import Budget
from bridge.bus_side.letter import DIRECTORY as DEAD_LETTERS
from bridge.bus_side.link import Link
from bridge.bus_side.meter import Meter
from bridge.bus_side.sink import Sink
from bridge.config import Config, Kafka, Lane, Log, State
from bridge.log.doorbell import Doorbell
from bridge.log.errors import LogError
from bridge.log.key_files import keys_of
from bridge.log.queue_key import Keyring

if TYPE_CHECKING:
    from bridge.bus_side.downlink_log import DownlinkLog
    from bridge.bus_side.noise import Noise

_log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1  # prctl(2)
_BACKOFF_FIRST_S = 0.1
_WRONG_CONFIGURATION = 2


def main(argv: list[str]) -> int:
    """Runs until the device side is gone or SIGTERM comes; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bridge.bus_side.main", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--doorbell-fd", type=int, required=True)
    options = parser.parse_args(argv)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        config = config_file.load(options.config)
    except config_file.ConfigErrors as error:
        journal.set_up(Log(), "bus")
        _log.critical("%s", error)
        return _WRONG_CONFIGURATION
    journal.set_up(config.log, "bus")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config, Doorbell(socket.socket(fileno=options.doorbell_fd))))
    except LogError as error:
        _log.critical("cannot go on: %s", error)
        return 1
    return 0


def _straight(sink: Sink) -> Sink:
    return sink


async def serve(
    config: Config, doorbell: Doorbell, noise: Noise | None = None, through: Callable[[Sink], Sink] = _straight
) -> None:
    """The process from its first to its last moment; raises what it cannot go on with.

    Args:
        config: says to whom.
        doorbell: this side's end.
        noise: filters aiokafka's lines, if that has been seen to already.
        through: may put something between the forwarder and the sink.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    bell = Bell(doorbell, stop)
    keys = keys_of(config.queue, os.environ)
    letters = _dead_letter_log(config, keys)
    downlink = _downlink_log(config, keys)
    forwarder = _forwarder(
        config, bell, noise, letters, lambda sink: through(_settled(config, sink, bell, downlink)), keys
    )
    if downlink is not None:
        bell.on_downlink_forwarded = downlink.writer.forwarded
        bell.tell_downlink(downlink.writer.committed)
    bell.start()
    works = [asyncio.create_task(forwarder.run())]
    if downlink is not None and config.kafka is not None:
        from bridge.bus_side.kafka_parts import make_consumers

        consumers = make_consumers(config, config.kafka, bell, downlink, lambda: _backoff(config.kafka or Kafka(())))
        works += [asyncio.create_task(each.run()) for each in consumers]
    try:
        await _until(stop, works)
    finally:
        last = config.state.lane if config.state is not None and stop.is_set() else None
        await _end(works, forwarder, downlink, config.supervisor.stop_timeout / 3, last)
        await asyncio.to_thread(letters.close)
        bell.close()


async def _until(stop: asyncio.Event, works: list[asyncio.Task[None]]) -> None:
    """Returns when asked to stop; raises what one of the works failed with."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, *works}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for work in works:
        if work.done():
            work.result()


async def _end(
    works: list[asyncio.Task[None]],
    forwarder: Forwarder,
    downlink: DownlinkLog | None,
    limit_s: float,
    last: str | None,
) -> None:
    """`last`: a lane whose records are to go out before; those say that the gateway was stopped, and its devices."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            if last is not None:
                await forwarder.catch_up(last)
            await forwarder.finish_write()
    for work in works:
        work.cancel()
    await asyncio.wait(works)
    await forwarder.close()
    if downlink is not None:
        await asyncio.to_thread(downlink.close)


def _forwarder(
    config: Config,
    bell: Bell,
    noise: Noise | None,
    letters: DeadLetterLog,
    through: Callable[[Sink], Sink],
    keys: Keyring,
) -> Forwarder:
    sink, name = _sink(config, noise, letters)
    limits = config.kafka or Kafka(())
    return Forwarder(
        through(sink),
        bell,
        Link(name, bell, time.time),
        uplink=config.gateway.data_dir / "uplink",
        lanes=_lanes(config),
        budget=Budget(limits.transaction_records, limits.transaction_bytes),
        meter=Meter(limits.max_rate, asyncio.get_running_loop().time()) if limits.max_rate is not None else None,
        backoff=_backoff(limits),
        linger_s=limits.linger if config.kafka is not None else 0.0,
        probe_s=limits.heartbeat,
        cursor_interval_s=config.queue.cursor_interval,
        gap_topic=limits.event_topic,
        gateway=config.gateway.id,
        wall_ns=time.time_ns,
        keys=keys,
    )


def _settled(config: Config, sink: Sink, bell: Bell, downlink: DownlinkLog | None) -> Sink:
    """Where devices may move, documents are compared with what the topic has; who connects gets what is for him."""
    if config.kafka is None or config.state is None or downlink is None:
        return sink
    from bridge.bus_side.kafka_parts import make_newcomers, make_settled

    if config.state.roaming:
        sink = make_settled(config, config.kafka, config.state, sink, bell, downlink)
    if config.downlink.desired_topic is not None:
        sink = make_newcomers(config, config.kafka, config.downlink.desired_topic, sink, bell, downlink)
    return sink


def _lanes(config: Config) -> dict[str, Lane]:
    """Documents wait a moment for later ones, so that of each device only the last goes out."""
    if config.state is None or config.kafka is None:
        return dict(config.lanes)
    own = config.lanes.get(config.state.lane, Lane())
    lane = msgspec.structs.replace(own, linger=max(own.linger, config.state.interval))
    return {**config.lanes, config.state.lane: lane}


def _dead_letter_log(config: Config, keys: Keyring) -> DeadLetterLog:
    kafka = config.kafka or Kafka(())
    return DeadLetterLog(
        config.gateway.data_dir / DEAD_LETTERS,
        record_max_bytes=max(config.mqtt.max_packet_size, (config.state or State()).document_max_bytes),
        max_bytes=kafka.dead_letter_max_bytes,
        event_topic=kafka.event_topic,
        boot_id=_boot_id(),
        wall_ns=time.time_ns,
        keys=keys,
    )


def _sink(config: Config, noise: Noise | None, letters: DeadLetterLog) -> tuple[Sink, str]:
    forms = Forms(config.routes)
    if config.kafka is not None:
        from bridge.bus_side.kafka_parts import make_sink, quieten

        sink = make_sink(config, config.kafka, noise or quieten(), letters, forms)
        return sink, f"Kafka ({', '.join(config.kafka.bootstrap_servers)})"
    if config.jsonl is not None:
        from bridge.bus_side.jsonl import JsonlSink

        return JsonlSink(config.gateway.id, config.jsonl, forms), f"the directory {config.jsonl.directory}"
    raise ValueError("neither [kafka] nor [jsonl] is configured: there is nothing for the bus side to do")


def _downlink_log(config: Config, keys: Keyring) -> DownlinkLog | None:
    downlink, roaming = config.downlink, config.state is not None and config.state.roaming
    if config.kafka is None or not (downlink.desired_topic or downlink.command_topic or roaming):
        return None
    from bridge.bus_side.kafka_parts import open_downlink_log

    return open_downlink_log(config, _boot_id(), keys)


def _boot_id() -> bytes:
    return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))


def _backoff(kafka: Kafka) -> Backoff:
    return Backoff(_BACKOFF_FIRST_S, kafka.reconnect_backoff_max, random.random)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
