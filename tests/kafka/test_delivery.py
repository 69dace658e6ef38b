"""Where the cluster cannot do what `kafka.delivery` asks for: said at once, never done in a lesser way, cured without a
restart.
"""

from __future__ import annotations

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from bridge.bus_side.delivery import NO_TRANSACTION_LOG
from tests.support.kafka import Broker
from tests.support.kafka.ledger import exactly_once_in_order

DEVICES = ["dev-1", "dev-2"]


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (ResourceType.TRANSACTIONAL_ID, "{0}", 'may not use the transactional id "{0}"'),
        (ResourceType.GROUP, "busbridge.{0}.normal", 'may not use the groups "busbridge.{0}.*"'),
    ],
    ids=["transactional-id", "group"],
)
def test_transactions_that_the_account_may_not_have(kind, name, words, kafka, make_site, read):
    site = make_site(kafka.address)
    place = (kind, name.format(site.gateway), ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", AclOperation.ALL)
    denied = AclBinding(*place, AclPermissionType.DENY)
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.create_acls([denied])[denied].result(30)
    site.feed.publish(DEVICES, 3)
    site.start()
    site.wait_for("refused")
    assert words.format(site.gateway) in site.bus.health.detail
    assert 'or set kafka.delivery = "at_least_once"' in site.bus.health.detail
    site.feed.publish(DEVICES, 3)
    site.bus.listen_until(lambda: site.bus.health.figures.retries > 3)
    assert len(site.log.read_text().splitlines()) == 1, "however often it is tried"
    filters = [AclBindingFilter(*place, AclPermissionType.DENY)]
    admin.delete_acls(filters)[filters[0]].result(30)
    site.wait()
    assert exactly_once_in_order(read(kafka.address, site.topic), site.feed.written)


def test_a_cluster_without_a_transaction_log(tmp_path, make_site):
    broker = Broker(tmp_path / "kafka", properties={"transaction.state.log.replication.factor": "3"})
    broker.start()
    try:
        site = make_site(broker.address)
        site.feed.publish(DEVICES, 3)
        site.start()
        site.wait_for("away", 60)
        assert site.bus.health.detail == NO_TRANSACTION_LOG
        assert site.said("is away") == 1
    finally:
        broker.kill()


def test_a_transaction_time_out_that_the_cluster_does_not_allow(kafka, make_site):
    site = make_site(kafka.address, extra='transaction_timeout = "2 h"\n')
    site.feed.publish(DEVICES, 3)
    site.start()
    site.wait_for("refused")
    assert "kafka.transaction_timeout is longer than this cluster allows" in site.bus.health.detail
    assert site.bus.forwarded == {}
