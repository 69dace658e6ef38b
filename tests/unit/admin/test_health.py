"""What a status amounts to, and how Prometheus reads it."""

from __future__ import annotations

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from bridge.admin.health import judge
from bridge.admin.metrics import Metrics
from bridge.admin.status import Bounds, BusSide, Clients, Commands, Documents, Lane, Sparkplug, Status, Traffic
from bridge.log.doorbell import Figures, Health, LaneFigures
from bridge.log.figures import Figures as LogFigures
from bridge.security.perishable import Perishable

NOW, DAY_S = 1_800_000_000.0, 86_400.0
LOG = LogFigures(*range(1, 1 + len(LogFigures.__struct_fields__)))


def lane(*, full: bool = False, shortage: str | None = None) -> Lane:
    return Lane(committed=110, forwarded=100, pending_bytes=9, full=full, shortage=shortage, log=LOG)


WELL = Status(
    gateway="gw-1",
    version="1.2.3",
    epoch=4,
    pid=77,
    started=NOW - 60,
    now=NOW,
    stopping=False,
    listeners=("127.0.0.1:8883",),
    clients=Clients(connected=3, devices=3, known=5, connections=4, subscriptions=6, retained=7, queued_bytes=8192),
    traffic=Traffic(
        bytes_received=10, bytes_sent=20, publications_received=30, publications_delivered=40, publications_dropped=50
    ),
    bounds=Bounds(
        half_open=11, handshakes=12, refused={"half-open": 13}, held=14, pauses=15, memory_bytes=16, memory_ended=17
    ),
    lanes={"normal": lane()},
    bus_side=BusSide(
        pid=78,
        restarts=2,
        health=Health(
            "connected",
            NOW - 5,
            figures=Figures(
                lanes={"normal": LaneFigures(99, 9900, 10, 1000)},
                wire_bytes=5000,
                transactions_committed=8,
                transactions_aborted=1,
                dead_letters={"too-large": 2},
                superseded=21,
                gateways=22,
                catch_up_s=12.5,
            ),
        ),
    ),
    perishables=(Perishable("server.pem", "certificate of CN=gw", NOW + 400 * DAY_S),),
    sparkplug=Sparkplug(nodes_alive=21, births=22, deaths=23, gaps=24, rebirths=25, invalid=26),
    documents=Documents(kept=18, unwritten=19),
    commands=Commands(pending=20, outcomes={"succeeded": 23, "expired": 24}),
)


def changed(**changes: object) -> Status:
    return msgspec.structs.replace(WELL, **changes)


def test_all_is_well():
    verdict = judge(WELL, 30 * DAY_S)
    assert (verdict.ready, verdict.problems, verdict.concerns) == (True, (), ())


def test_kafka_away_is_a_concern_and_devices_are_served():
    away = BusSide(78, 2, Health("away", NOW - 5, "the broker refuses the connection"))
    verdict = judge(changed(bus_side=away), 30 * DAY_S)
    assert verdict.ready
    assert verdict.concerns == (
        "the way to Kafka is away since 2027-01-15T07:59:55Z: the broker refuses the connection",
    )
    assert judge(changed(bus_side=BusSide(None, 3, Health("restarting"))), 0).concerns == (
        "the bus side is not running; it is started again",
    )


def test_a_full_lane_is_a_problem_that_names_its_reason():
    full = lane(full=True, shortage="max_bytes is reached")
    verdict = judge(changed(lanes={"bulk": full}), 0)
    assert (verdict.ready, verdict.problems) == (
        False,
        ("lane bulk is full, so devices wait: max_bytes is reached",),
    )
    tight = lane(shortage="the disk is nearly full")
    assert judge(changed(lanes={"bulk": tight}), 0).concerns == ("lane bulk cannot grow: the disk is nearly full",)


def test_a_certificate_is_a_concern_a_month_ahead_and_then_a_problem():
    def verdict(days: float):
        ending = Perishable("server.pem", "certificate of CN=gw", NOW + days * DAY_S)
        return judge(changed(perishables=(ending,)), 30 * DAY_S)

    assert verdict(31).concerns == ()
    assert verdict(29.5).concerns == ("server.pem: the certificate of CN=gw expires in 29.5 days",)
    over = verdict(-1)
    assert not over.ready
    assert over.problems == ("server.pem: the certificate of CN=gw has expired (2027-01-14T08:00:00Z)",)


def test_what_lives_for_days_is_a_concern_when_it_should_have_been_renewed():
    def concerns(left_days: float):
        ending = Perishable(
            "crl.pem", "revocation list of CN=x", NOW + left_days * DAY_S, NOW - (4 - left_days) * DAY_S
        )
        return judge(changed(perishables=(ending,)), 30 * DAY_S).concerns

    assert concerns(1.1) == ()
    assert concerns(0.9) == ("crl.pem: the revocation list of CN=x expires in 0.9 days",)


def test_who_stops_is_not_ready():
    assert judge(changed(stopping=True), 0).problems == ("the gateway is stopping",)


def test_prometheus_reads_every_figure():
    text = Metrics().render(WELL, judge(WELL, 0)).decode()
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    found = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    assert found["busbridge_gateway_info", "4", "gw-1", "1.2.3"] == 1
    assert found["busbridge_lane_waiting_records", "normal"] == LOG.waiting_records
    assert found["busbridge_lane_written_bytes_total", "normal"] == LOG.bytes_written
    assert found["busbridge_lane_syncs_total", "normal"] == LOG.syncs
    assert found["busbridge_publications_received_total",] == 30
    assert found["busbridge_session_queue_bytes",] == 8192
    assert found["busbridge_refused_connections_total", "half-open"] == 13
    assert (found["busbridge_held_connections",], found["busbridge_held_pauses_total",]) == (14, 15)
    assert found["busbridge_forwarded_records_total", "normal"] == 99
    assert (found["busbridge_sparkplug_nodes_alive",], found["busbridge_sparkplug_gaps_total",]) == (21, 24)
    assert found["busbridge_sparkplug_invalid_messages_total",] == 26
    assert found["busbridge_transactions_total", "aborted"] == 1
    assert found["busbridge_dead_letters_total", "too-large"] == 2
    assert (found["busbridge_bus_state", "connected"], found["busbridge_bus_state", "away"]) == (1, 0)
    assert found["busbridge_certificate_not_after_seconds", "server.pem", "certificate of CN=gw"] == NOW + 400 * DAY_S
    assert found["busbridge_catch_up_seconds",] == 12.5
    assert (found["busbridge_documents",], found["busbridge_unwritten_documents",]) == (18, 19)
    assert (found["busbridge_superseded_documents_total",], found["busbridge_gateways",]) == (21, 22)
    assert found["busbridge_pending_commands",] == 20
    assert found["busbridge_command_outcomes_total", "expired"] == 24
    assert found["busbridge_process_resident_memory_bytes",] > 1e6
