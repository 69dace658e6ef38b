"""The daemon: where the device side's parts are made and wired, and the order in which they start and stop.

An address that is taken, a lock that is held, a key that cannot be read end the start with one sentence.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import uvloop

from bridge import journal
from bridge.admin.server import AdminServer, CannotServe
from bridge.config import Config
from bridge.device_side.accounts import Accounts
from bridge.device_side.admission import Admission
from bridge.device_side.broker import Broker
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore, ColdStoreFailure
from bridge.device_side.connection import Connection, Stream
from bridge.device_side.core_dumps import forbid_core_dumps
from bridge.device_side.directory import Directory, open_directory
from bridge.device_side.doorman import Doorman
from bridge.device_side.edge_nodes import open_edge_nodes
from bridge.device_side.front_desk import FrontDesk
from bridge.device_side.listener import Admitted, CannotListen, ListeningPort
from bridge.device_side.lock import DirectoryLock, Locked
from bridge.device_side.long_clock import LongClock
from bridge.device_side.open_files import fitting, raise_limit
from bridge.device_side.overview import Overview
from bridge.device_side.pipeline import Pipeline
from bridge.device_side.presences import Presences
from bridge.device_side.rates import Rates
from bridge.device_side.registrar import Registrar
from bridge.device_side.reload import Reload
from bridge.device_side.renewal import Renewal
from bridge.device_side.retained import Retained
from bridge.device_side.rights import Rights
from bridge.device_side.sealers import make_sealers, read_keys
from bridge.device_side.state_parts import StateParts
from bridge.device_side.supervisor import BusSide
from bridge.device_side.sys_topics import SysTopics
from bridge.device_side.systemd import Notifier
from bridge.device_side.timekeeper import Timekeeper
from bridge.device_side.units import Units
from bridge.device_side.uplink import Lane, Token, Uplink
from bridge.device_side.wills import Wills
from bridge.durable import replace_file
from bridge.log.doorbell import Note
from bridge.log.errors import LogError
from bridge.log.key_files import keys_of
from bridge.log.log_id import load_or_create_log_id
from bridge.log.owner import claim
from bridge.log.settings import LogSettings
from bridge.mqtt.session import Session
from bridge.routing import Routing
from bridge.schemas.of_routes import open_registry, schemas_of
from bridge.schemas.schema import SchemaError
from bridge.security.acl import Acl
from bridge.security.keys import KeyFileError
from bridge.security.members import MembersError, read_members
from bridge.security.tokens import KeysError
from bridge.security.users import UsersError

_log = logging.getLogger(__name__)
DONE, FAILED = 0, 1
_RELIEF_S = 0.25
_CLOCK_LOOK_S = 1.0


def run(config: Config, config_path: Path, clock: Clock | None = None) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code: 0 stopped as asked, 1 could not start or had to give up.

    `clock`: other than this machine's.
    """
    journal.set_up(config.log, "device")
    forbid_core_dumps()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(config, config_path, clock or Clock()))


async def _run(config: Config, config_path: Path, clock: Clock) -> int:
    try:
        with DirectoryLock(config.gateway.data_dir):
            daemon = Daemon(config, config_path, asyncio.get_running_loop(), clock)
            return await daemon.run()
    except (
        SchemaError,
        CannotListen,
        CannotServe,
        Locked,
        ColdStoreFailure,
        KeyFileError,
        KeysError,
        MembersError,
        UsersError,
        LogError,
    ) as error:
        _log.critical("cannot start: %s", error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _log.critical("cannot start: %s%s", where, error.strerror or error)
    return FAILED


class Daemon:
    """All parts of the device side."""

    def __init__(self, config: Config, config_path: Path, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        """Recovers what is on disk and binds the ports; nothing is accepted yet.

        Raises:
            CannotListen, LogError, OSError and the others that `_run` catches: what stands in the way.
        """
        self._config = config
        self._loop = loop
        self._stop = asyncio.Event()
        self._exit_code = DONE
        self._clock = clock
        self._notifier = Notifier(os.environ)
        self._tasks: set[asyncio.Task[None]] = set()
        data = config.gateway.data_dir
        members = read_members(config.permissions)
        acl = Acl(config.permissions, members)
        self._keys = keys_of(config.queue, os.environ)
        claim(data / "uplink", config.gateway.id, config.gateway.renamed_from)
        self._cold = ColdStore(data / "cold.sqlite", self._failed_elsewhere)
        self._log_id = load_or_create_log_id(data / "uplink")
        self._uplink = self._open_uplink(data / "uplink")
        self._timekeeper = Timekeeper(self._clock, [lane.writer for lane in self._uplink.lanes.values()])
        self._clocks = self._timekeeper.known.encode()
        self._long_clock = LongClock(clock, self._cold)
        self._retained = Retained(self._cold, config.limits, self._long_clock, loop.time)
        self._broker = Broker(
            acl, self._retained, self._cold, config.mqtt, config.limits, loop.time, loop.call_soon_threadsafe,
            self._long_clock,
        )  # fmt: skip
        keys = read_keys(config)
        self._registry = open_registry(config, os.environ, replace_file, time.monotonic)
        self._pipeline = Pipeline(
            acl, Routing(config.routes), make_sealers(config, keys), schemas_of(config, self._registry),
            self._uplink, self._broker, self._clock, config.limits, os.urandom,
        )  # fmt: skip
        self._state = StateParts(
            config, self._uplink, self._broker, self._cold, acl, clock, loop, log_id=self._log_id, keys=self._keys
        )
        self._equip_pipeline()
        self._wills = Wills(self._pipeline.will, self._cold, self._long_clock)
        self._units = Units(acl, self._cold)
        rates = Rates(config.limits, loop.time)
        accounts = Accounts(config)
        self._doorman = Doorman(loop, accounts, config.limits, lambda: self._clock.wall_ns() / 1e9)
        self._desk = self._open_desk(acl, rates)
        command = (sys.executable, "-m", "bridge.bus_side.main", "--config", str(config_path))
        self._bus_side = BusSide(loop, config.supervisor, command, positions=self._positions, on_note=self._on_note)
        limits = fitting(config.limits, raise_limit())
        self._pool = ThreadPoolExecutor(limits.handshake_threads, thread_name_prefix="handshake")
        self._admission = Admission(loop, limits, lambda: len(self._desk.connections), rates)
        self._ports = [
            ListeningPort(loop, listener, limits, self._admission, self._pool, self._welcome)
            for listener in config.listeners
        ]
        self._reload = Reload(config, config_path, self._ports, accounts, acl, members, keys, self._desk)
        self._overview = self._look_over()
        self._admin = AdminServer(config.admin, data, self._overview.status, self._open_directory())

    async def run(self) -> int:
        """Serves until asked to stop; returns the exit code."""
        for session in self._broker.restore(self._pipeline.exchanges.by_session()):
            self._pipeline.exchanges.abandon(session)
        self._state.restore()
        self._wills.restore(self._broker.clients, self._loop.time())
        self._units.retain_only({client.device for client in self._broker.clients.values()})
        for number, act in (
            (signal.SIGTERM, self._stop.set),
            (signal.SIGINT, self._stop.set),
            (signal.SIGHUP, self.reload),
        ):
            self._loop.add_signal_handler(number, act)
        self._spawn(self._desk.sweep())
        self._spawn(self._desk.keep_messages())
        self._spawn(self._reload.watch())
        self._spawn(Renewal(self._config.listeners, lambda: self._clock.wall_ns() / 1e9).run())
        if (interval_s := self._config.mqtt.sys_interval) > 0:
            topics = SysTopics(self._broker, version("busbridge"), self._loop.time())
            self._spawn(self._desk.tell_figures(topics, interval_s))
        self._spawn(self._relieve_regularly())
        self._spawn(self._keep_time())
        for work in self._state.works(self._bus_side.ring):
            self._spawn(work)
        if self._notifier.watchdog_interval:
            self._spawn(self._watchdog())
        await self._admin.start()
        bus_side = self._loop.create_task(self._bus_side.run()) if self._has_sink else None
        for port in self._ports:
            port.start()
        where = ", ".join(port.address for port in self._ports)
        gc.freeze()  # (what is there now stays: to look through all of it again takes 15 ms and more, on the loop)
        _log.info("gateway %s epoch %s is ready on %s", self._config.gateway.id, self._state.epoch, where)
        self._notifier.ready(f"listening on {where}")
        await self._stop.wait()
        try:
            await self._shut_down(bus_side)
        except OSError as error:  # the disk that it gives up for takes these last writes no more than others
            _log.error("stopping: %s", error)
            self._exit_code = FAILED
        return self._exit_code

    def reload(self) -> None:
        """SIGHUP: reads again what can be read again."""
        self._spawn(self._read_again())

    async def _read_again(self) -> None:
        self._notifier.reloading(self._clock.mono_ns())
        await self._reload.now()
        self._notifier.ready("reloaded")

    @property
    def _has_sink(self) -> bool:
        return self._config.kafka is not None or self._config.jsonl is not None

    async def _shut_down(self, bus_side: asyncio.Task[None] | None) -> None:
        """Nothing new, then the last acknowledgements, then the logs, then the bus side."""
        _log.info("stopping")
        self._notifier.stopping()
        self._overview.stopping = True
        for port in self._ports:
            port.close()
        self._desk.stop()
        self._state.release()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._uplink.close)
        await asyncio.sleep(0)  # the last commits' call-backs
        if bus_side is not None:
            self._bus_side.ring()
            await self._bus_side.stop()
            await bus_side
        self._state.close()
        self._broker.keep_messages()
        self._long_clock.save()
        self._cold.close()
        if self._registry is not None:
            self._registry.close()
        self._pool.shutdown(wait=False)
        self._doorman.close()
        await self._admin.stop()
        _log.info("stopped")

    def _open_uplink(self, directory: Path) -> Uplink:
        queue = self._config.queue
        uplink = Uplink(self._loop, self._on_committed)
        for name in self._config.lane_names():
            uplink.open_lane(
                name,
                directory / name,
                LogSettings.for_lane(queue, self._config.lanes.get(name)),
                log_id=self._log_id,
                clock=self._clock,
                keys=self._keys,
                pending_max=queue.pending_bytes,
                on_failure=self._failed_elsewhere,
            )
        return uplink

    def _open_desk(self, acl: Acl, rates: Rates) -> FrontDesk:
        presences = Presences(self._state.devices, self._broker, self._clock, self._loop.time)
        rights = Rights(self._broker, self._units, acl)
        registrar = Registrar(
            self._loop, self._config.limits, self._broker, self._pipeline, presences, self._wills, acl, rights, rates,
            self._doorman,
        )  # fmt: skip
        return FrontDesk(
            self._loop, self._config, self._broker, self._pipeline, registrar, presences, self._clock, self._wills,
            rights, rates, self._doorman,
        )  # fmt: skip

    def _equip_pipeline(self) -> None:
        """With what takes messages that are not for Kafka as they are."""
        self._pipeline.devices, self._pipeline.commands = self._state.devices, self._state.commands
        self._pipeline.edge_nodes = open_edge_nodes(
            self._config, self._cold, self._state.devices, self._broker, self._clock, self._loop,
            lambda: self._desk.resume_held(),
        )  # fmt: skip

    def _open_directory(self) -> Directory | None:
        clock, uplink = self._clock, self._uplink
        return open_directory(self._config, self._state.devices, self._state.commands, clock, uplink, self._bus_side)

    def _look_over(self) -> Overview:
        return Overview(
            self._config,
            version=version("busbridge"),
            epoch=self._state.epoch,
            clock=self._clock,
            broker=self._broker,
            uplink=self._uplink,
            bus_side=self._bus_side if self._has_sink else None,
            ports=self._ports,
            connections=lambda: len(self._desk.connections),
            by_authority=self._desk.by_authority,
            traffic=self._desk.traffic,
            admission=self._admission,
            meters=self._desk.meters,
            memory=self._desk.memory,
            devices=self._state.devices,
            commands=self._state.commands,
            edge_nodes=self._pipeline.edge_nodes,
        )

    def _welcome(self, sock: Stream, peer: str, admitted: Admitted | None) -> None:
        session = Session(self._config.mqtt, self._config.limits.output_bytes)
        device = admitted.device if admitted is not None else None
        self._desk.add(Connection(self._desk, sock, session, self._config.limits, peer=peer, identity=device), admitted)

    def _on_committed(self, lane: Lane, tokens: list[Token]) -> None:
        """A group commit is on disk: now, and only now, its messages are acknowledged."""
        for token in tokens:
            if callable(token):
                token()
            else:
                connection, messages = token
                connection.durable(messages)
        self._bus_side.ring()
        self._desk.flush()
        self._desk.resume_held()

    def _on_note(self, note: Note) -> None:
        """What the bus side says."""
        if note.forwarded:
            positions = dict(note.forwarded)
            # The log gives documents up only when the cold store has them too: it catches up from the log at start.
            self._cold.after_commit(lambda: self._loop.call_soon_threadsafe(self._forwarded, positions))
        if note.downlink_committed is not None:
            self._state.advance(note.downlink_committed)

    def _forwarded(self, positions: dict[str, int]) -> None:
        self._uplink.forwarded(positions)
        self._relieved()

    def _relieved(self) -> None:
        """Room may have come back: whoever had to wait tries again."""
        now = time.monotonic()
        self._uplink.look(now)
        self._pipeline.exchanges.room.look(now)
        self._state.relieved()
        self._desk.resume_held()

    def _positions(self) -> Note:
        """All the bus side must know, whenever it starts."""
        downlink = self._state.downlink_forwarded
        return Note(committed=self._uplink.committed(), clocks=self._clocks, downlink_forwarded=downlink)

    async def _relieve_regularly(self) -> None:
        """Room comes back without a word where a segment has been made or the disk has caught up."""
        while True:
            await asyncio.sleep(_RELIEF_S)
            self._relieved()

    async def _keep_time(self) -> None:
        while True:
            if self._timekeeper.look():
                self._clocks = self._timekeeper.known.encode()
                self._bus_side.ring()
            self._long_clock.look()
            await asyncio.sleep(_CLOCK_LOOK_S)

    async def _watchdog(self) -> None:
        while True:
            self._notifier.watchdog()
            await asyncio.sleep(self._notifier.watchdog_interval)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_over)

    def _task_over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._give_up(error)

    def _failed_elsewhere(self, error: object) -> None:
        """A commit thread or the cold store cannot go on (called on their threads)."""
        self._loop.call_soon_threadsafe(self._give_up, error)

    def _give_up(self, error: object) -> None:
        """Stops without acknowledging anything more; started again by systemd, it recovers what is on disk."""
        _log.critical("giving up: %s", error, exc_info=error if isinstance(error, Exception) else None)
        if not self._stop.is_set():
            self._notifier.status(f"giving up: {error}")
        self._exit_code = FAILED
        self._stop.set()
