"""Overview: gathers from the device side's parts how they are doing, for the admin side. It changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from bridge.admin.status import Bounds, Clients, Sparkplug, Status, Traffic
from bridge.admin.status import BusSide as BusSideStatus
from bridge.admin.status import Commands as CommandsStatus
from bridge.admin.status import Documents as DocumentsStatus
from bridge.admin.status import Lane as LaneStatus
from bridge.config import Config
from bridge.device_side.admission import Admission
from bridge.device_side.broker import Broker
from bridge.device_side.clock import Clock
from bridge.device_side.commands import Commands
from bridge.device_side.devices import Devices
from bridge.device_side.edge_nodes import EdgeNodes
from bridge.device_side.listener import ListeningPort
from bridge.device_side.memory_watch import MemoryWatch
from bridge.device_side.meter import Meters
from bridge.device_side.supervisor import BusSide
from bridge.device_side.uplink import Lane, Uplink
from bridge.security.perishable import Perishable

_NS = 1e9


class Overview:
    """One for the daemon."""

    def __init__(
        self,
        config: Config,
        *,
        version: str,
        epoch: int,
        clock: Clock,
        broker: Broker,
        uplink: Uplink,
        bus_side: BusSide | None,
        ports: Sequence[ListeningPort],
        connections: Callable[[], int],
        by_authority: Callable[[], Mapping[str, int]],
        traffic: Callable[[], Mapping[str, int]],
        admission: Admission,
        meters: Meters,
        memory: MemoryWatch,
        devices: Devices | None,
        commands: Commands | None,
        edge_nodes: EdgeNodes | None,
    ) -> None:
        """Args:
        config: who this gateway is.
        version: of the program.
        epoch: of this start.
        clock: says when something was.
        broker: its clients.
        uplink: its lanes.
        bus_side: the child process; None where nothing is forwarded.
        ports: where devices connect.
        connections: how many there are.
        by_authority: the same, by the CA of their certificates.
        traffic: of all connections since the start, by the names of `$SYS/broker/…`.
        admission: whom the limits turned away.
        meters: whom they hold.
        memory: what connections hold.
        devices: their documents; None: there are none.
        commands: to them; None: none are taken.
        edge_nodes: of Sparkplug; None where no route is.
        """
        self.stopping = False
        self._config = config
        self._version = version
        self._epoch = epoch
        self._clock = clock
        self._started = clock.wall_ns() / _NS
        self._broker = broker
        self._uplink = uplink
        self._bus_side = bus_side
        self._ports = ports
        self._connections = connections
        self._by_authority = by_authority
        self._traffic = traffic
        self._admission = admission
        self._meters = meters
        self._memory = memory
        self._devices = devices
        self._commands = commands
        self._edge_nodes = edge_nodes

    def status(self) -> Status:
        """How things are now. Costs what the number of connections costs, so it is not for the hot path."""
        return Status(
            gateway=self._config.gateway.id,
            version=self._version,
            epoch=self._epoch,
            pid=os.getpid(),
            started=self._started,
            now=self._clock.wall_ns() / _NS,
            stopping=self.stopping,
            listeners=tuple(port.address for port in self._ports),
            clients=self._clients(),
            traffic=self._traffic_since_start(),
            bounds=self._bounds(),
            lanes={name: _lane(lane) for name, lane in self._uplink.lanes.items()},
            bus_side=_bus_side(self._bus_side),
            perishables=self._perishables(),
            documents=_documents(self._devices),
            commands=_commands(self._commands),
            sparkplug=_sparkplug(self._edge_nodes),
        )

    def _clients(self) -> Clients:
        broker = self._broker
        there = [client.device for client in broker.clients.values() if client.connection is not None]
        return Clients(
            connected=len(there),
            devices=len(set(there)),
            known=len(broker.clients),
            connections=self._connections(),
            subscriptions=sum(len(client.state.subscriptions) for client in broker.clients.values()),
            retained=len(broker.retained),
            queued_bytes=broker.queue_room.bytes,
            by_authority=self._authorities(),
        )

    def _authorities(self) -> dict[str, int]:
        """With those that are trusted and nobody uses (any more)."""
        trusted = (name for port in self._ports if port.trust is not None for name in port.trust.names)
        return dict.fromkeys(trusted, 0) | dict(self._by_authority())

    def _traffic_since_start(self) -> Traffic:
        traffic = self._traffic()
        return Traffic(
            bytes_received=traffic.get("bytes/received", 0),
            bytes_sent=traffic.get("bytes/sent", 0),
            publications_received=traffic.get("publish/messages/received", 0),
            publications_delivered=self._broker.delivered,
            publications_dropped=self._broker.dropped,
        )

    def _bounds(self) -> Bounds:
        admission, meters = self._admission, self._meters
        return Bounds(
            half_open=len(admission.antechamber),
            handshakes=admission.handshakes,
            refused=dict(admission.refused),
            held=meters.held_now,
            pauses=meters.pauses,
            memory_bytes=self._memory.held,
            memory_ended=self._memory.ended,
        )

    def _perishables(self) -> tuple[Perishable, ...]:
        return tuple(dict.fromkeys(each for port in self._ports for each in port.perishables))


def _lane(lane: Lane) -> LaneStatus:
    writer = lane.writer
    return LaneStatus(
        committed=writer.committed,
        forwarded=lane.forwarded,
        pending_bytes=writer.pending_bytes,
        full=lane.blocked,
        shortage=writer.shortage,
        log=writer.figures,
    )


def _sparkplug(nodes: EdgeNodes | None) -> Sparkplug | None:
    if nodes is None:
        return None
    counts = nodes.counts
    return Sparkplug(nodes.alive, counts.births, counts.deaths, counts.gaps, counts.rebirths, counts.invalid)


def _documents(devices: Devices | None) -> DocumentsStatus | None:
    return DocumentsStatus(len(devices), devices.unwritten) if devices is not None else None


def _commands(commands: Commands | None) -> CommandsStatus | None:
    return CommandsStatus(len(commands), dict(commands.outcomes.counts)) if commands is not None else None


def _bus_side(bus_side: BusSide | None) -> BusSideStatus | None:
    if bus_side is None:
        return None
    return BusSideStatus(bus_side.pid, bus_side.restarts, bus_side.health)
