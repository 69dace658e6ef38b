"""Metrics: a status in the text format of Prometheus, with names and units as its guide has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from bridge.admin.health import Verdict
from bridge.admin.status import Bounds, BusSide, Lane, Sparkplug, Status, Traffic
from bridge.log.doorbell import Figures

Family = CounterMetricFamily | GaugeMetricFamily | InfoMetricFamily

BUS_STATES = ("starting", "connected", "away", "refused", "fenced", "restarting")
"""Of `busbridge_bus_state`, one of which is 1."""


class Metrics:
    """For one process; the registry is its own, so that two daemons in one process do not meet."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(ProcessCollector(namespace="busbridge", registry=None))

    def render(self, status: Status, verdict: Verdict) -> bytes:
        """The exposition as of now, of `content_type`."""
        moment = CollectorRegistry(auto_describe=False)
        moment.register(_Moment(status, verdict))
        return generate_latest(moment) + generate_latest(self._registry)


class _Moment(Collector):
    def __init__(self, status: Status, verdict: Verdict) -> None:
        self._status = status
        self._verdict = verdict

    def collect(self) -> Iterator[Family]:
        status = self._status
        named = {"gateway": status.gateway, "version": status.version, "epoch": str(status.epoch)}
        yield InfoMetricFamily("busbridge_gateway", "This gateway.", value=named)
        yield GaugeMetricFamily("busbridge_start_time_seconds", "When the process started.", value=status.started)
        yield GaugeMetricFamily("busbridge_ready", "1 while devices are served.", value=self._verdict.ready)
        yield GaugeMetricFamily(
            "busbridge_concerns", "What works, but not for long.", value=len(self._verdict.concerns)
        )
        yield from _clients(status)
        yield from _traffic(status.traffic)
        yield from _bounds(status.bounds)
        yield from _lanes(status.lanes)
        if status.sparkplug is not None:
            yield from _sparkplug(status.sparkplug)
        if status.bus_side is not None:
            yield from _bus(status.bus_side)
        yield from _devices(status)
        yield from _perishables(status)


def _clients(status: Status) -> Iterator[Family]:
    clients = status.clients
    for name, help_text, value in (
        ("clients_connected", "MQTT clients that are connected.", clients.connected),
        ("devices_connected", "With any number of connections.", clients.devices),
        ("clients_known", "MQTT clients connected, or with a session that waits for them.", clients.known),
        ("connections", "Network connections, with those before CONNECT.", clients.connections),
        ("subscriptions", "Of all clients.", clients.subscriptions),
        ("retained_messages", "Topics with a retained message.", clients.retained),
        ("session_queue_bytes", "Of messages that wait in the sessions of all clients.", clients.queued_bytes),
    ):
        yield GaugeMetricFamily(f"busbridge_{name}", help_text, value=value)
    authorities = GaugeMetricFamily("busbridge_certificates_in_use", "Connections by trusted CA.", labels=["ca"])
    for authority, count in clients.by_authority.items():
        authorities.add_metric([authority], count)
    yield authorities


def _traffic(traffic: Traffic) -> Iterator[Family]:
    for name, help_text, value in (
        ("received_bytes", "From devices.", traffic.bytes_received),
        ("sent_bytes", "To devices.", traffic.bytes_sent),
        ("publications_received", "PUBLISH packets of devices.", traffic.publications_received),
        ("publications_delivered", "PUBLISH packets to local subscribers.", traffic.publications_delivered),
        ("publications_dropped", "For local subscribers that were too slow or away.", traffic.publications_dropped),
    ):
        yield CounterMetricFamily(f"busbridge_{name}", help_text, value=value)


def _bounds(bounds: Bounds) -> Iterator[Family]:
    for name, help_text, value in (
        ("half_open_connections", "That have said nothing, or wait for a handshake.", bounds.half_open),
        ("handshakes", "In progress.", bounds.handshakes),
        ("held_bytes", "By all connections.", bounds.memory_bytes),
        ("held_connections", "Not read at the moment, for they sent more than they may.", bounds.held),
    ):
        yield GaugeMetricFamily(f"busbridge_{name}", help_text, value=value)
    yield CounterMetricFamily("busbridge_held_pauses", "Times a connection was held.", value=bounds.pauses)
    yield CounterMetricFamily("busbridge_memory_ended", "Connections ended to save memory.", value=bounds.memory_ended)
    refused = CounterMetricFamily("busbridge_refused_connections", "Without a look at who they are.", labels=["reason"])
    for reason, count in bounds.refused.items():
        refused.add_metric([reason], count)
    yield refused


def _sparkplug(sparkplug: Sparkplug) -> Iterator[Family]:
    alive = sparkplug.nodes_alive
    yield GaugeMetricFamily("busbridge_sparkplug_nodes_alive", "Edge nodes that were born and are there.", value=alive)
    for name, help_text, value in (
        ("births", "Of edge nodes and devices.", sparkplug.births),
        ("deaths", "Of edge nodes and devices.", sparkplug.deaths),
        ("gaps", "Sequences in which messages are missing.", sparkplug.gaps),
        ("rebirths", "Asked of edge nodes.", sparkplug.rebirths),
        ("invalid_messages", "That are no Sparkplug: dead letters.", sparkplug.invalid),
    ):
        yield CounterMetricFamily(f"busbridge_sparkplug_{name}", help_text, value=value)


_OfLane = tuple[tuple[str, str, Callable[[Lane], float]], ...]

_LANE_GAUGES: _OfLane = (
    ("lane_committed_position", "The sequence number behind the last record on disk.", lambda lane: lane.committed),
    ("lane_forwarded_position", "The sequence number behind the last record in Kafka.", lambda lane: lane.forwarded),
    ("lane_waiting_records", "On disk, not yet in Kafka.", lambda lane: lane.log.waiting_records),
    ("lane_waiting_bytes", "What these take; estimated.", lambda lane: lane.log.waiting_bytes),
    ("lane_pending_bytes", "Not yet on disk, so not yet acknowledged.", lambda lane: lane.pending_bytes),
    ("lane_file_bytes", "Of all files of the lane, those made ahead too.", lambda lane: lane.log.file_bytes),
    ("lane_capacity_bytes", "What these may grow to as things are.", lambda lane: lane.log.capacity_bytes),
    ("lane_segments", "In use.", lambda lane: lane.log.segments),
    ("lane_sync_seconds_max", "The longest write and sync since the start.", lambda lane: lane.log.sync_seconds_max),
    ("lane_full", "1 while the lane takes nothing more.", lambda lane: lane.full),
)
_LANE_COUNTERS: _OfLane = (
    ("lane_records", "Made durable.", lambda lane: lane.log.records),
    ("lane_record_bytes", "Of them.", lambda lane: lane.log.record_bytes),
    ("lane_written_bytes", "Asked of the disk for them, in whole pages.", lambda lane: lane.log.bytes_written),
    ("lane_spare_bytes", "Written as zeros ahead of time.", lambda lane: lane.log.spare_bytes),
    ("lane_syncs", "Group commits, each with one fdatasync.", lambda lane: lane.log.syncs),
    ("lane_sync_seconds", "Spent in these writes and syncs.", lambda lane: lane.log.sync_seconds),
    ("lane_dropped_records", "Given up by drop_oldest or max_age.", lambda lane: lane.log.dropped_records),
    ("lane_quarantined", "Damaged ranges that the start found.", lambda lane: lane.log.quarantined),
)


def _lanes(lanes: dict[str, Lane]) -> Iterator[Family]:
    for kind, table in ((GaugeMetricFamily, _LANE_GAUGES), (CounterMetricFamily, _LANE_COUNTERS)):
        for name, help_text, value in table:
            family = kind(f"busbridge_{name}", help_text, labels=["lane"])
            for lane_name, lane in lanes.items():
                family.add_metric([lane_name], value(lane))
            yield family


def _bus(bus: BusSide) -> Iterator[Family]:
    yield GaugeMetricFamily(
        "busbridge_bus_side_up", "1 while the process that forwards runs.", value=bus.pid is not None
    )
    yield CounterMetricFamily("busbridge_bus_side_restarts", "How often it was started again.", value=bus.restarts)
    state = GaugeMetricFamily(
        "busbridge_bus_state", "The state that is 1 is that of the way to Kafka.", labels=["state"]
    )
    for name in BUS_STATES:
        state.add_metric([name], bus.health.state == name)
    yield state
    yield GaugeMetricFamily("busbridge_bus_state_since_seconds", "When it was entered.", value=bus.health.since)
    yield from _forwarded(bus.health.figures)
    yield from _cost(bus.health.figures)


def _forwarded(figures: Figures) -> Iterator[Family]:
    records = CounterMetricFamily("busbridge_forwarded_records", "Since the bus side's start.", labels=["lane"])
    size = CounterMetricFamily("busbridge_forwarded_bytes", "As they were on disk.", labels=["lane"])
    for name, lane in figures.lanes.items():
        records.add_metric([name], lane.forwarded_records)
        size.add_metric([name], lane.forwarded_bytes)
    yield from (records, size)
    letters = CounterMetricFamily("busbridge_dead_letters", "Records that Kafka will never take.", labels=["reason"])
    for reason, count in figures.dead_letters.items():
        letters.add_metric([reason], count)
    yield letters
    yield CounterMetricFamily(
        "busbridge_superseded_documents", "Left out: a newer connection elsewhere.", value=figures.superseded
    )
    if figures.gateways:
        yield GaugeMetricFamily("busbridge_gateways", "With a record in the state topic.", value=figures.gateways)
    if figures.catch_up_s is not None:
        yield GaugeMetricFamily("busbridge_catch_up_seconds", "Until the backlog is gone.", value=figures.catch_up_s)


def _cost(figures: Figures) -> Iterator[Family]:
    yield CounterMetricFamily("busbridge_wire_bytes", "Of batches sent, compressed.", value=figures.wire_bytes)
    transactions = CounterMetricFamily("busbridge_transactions", "With Kafka.", labels=["outcome"])
    transactions.add_metric(["committed"], figures.transactions_committed)
    transactions.add_metric(["aborted"], figures.transactions_aborted)
    yield transactions
    yield CounterMetricFamily("busbridge_sink_retries", "Tries to reach Kafka after the first.", value=figures.retries)


def _devices(status: Status) -> Iterator[Family]:
    documents, commands = status.documents, status.commands
    if documents is not None:
        yield GaugeMetricFamily("busbridge_documents", "Devices that have a document here.", value=documents.kept)
        yield GaugeMetricFamily(
            "busbridge_unwritten_documents", "Changed while their lane was full.", value=documents.unwritten
        )
    if commands is not None:
        yield GaugeMetricFamily("busbridge_pending_commands", "To devices, not over yet.", value=commands.pending)
        outcomes = CounterMetricFamily("busbridge_command_outcomes", "What was said of commands.", labels=["outcome"])
        for word, count in commands.outcomes.items():
            outcomes.add_metric([word], count)
        yield outcomes


def _perishables(status: Status) -> Iterator[Family]:
    family = GaugeMetricFamily(
        "busbridge_certificate_not_after_seconds",
        "When a certificate or a revocation list ends.",
        labels=["file", "what"],
    )
    for each in status.perishables:
        family.add_metric([each.file, each.what], each.ends)
    yield family
