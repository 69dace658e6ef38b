"""`$SYS/broker/…`: mosquitto's names, told when they change, never on disk."""

from __future__ import annotations

from bridge.device_side.sys_topics import SysTopics
from bridge.mqtt.subscription import Subscription
from tests.unit.device_side.conftest import OpenStore
from tests.unit.device_side.local import local


def test_figures_are_retained_told_on_change_and_gone_with_the_daemon(open_store: OpenStore) -> None:
    store = open_store()
    with local(store) as gateway:
        topics = SysTopics(gateway.broker, "1.2.3", gateway.now)
        reader = gateway.connect("reader")
        gateway.connect("away", expiry_s=1).drop()
        topics.tell(gateway.now, {"bytes/received": 7, "sockets": 2})
        every = Subscription("$SYS/#")
        assert reader.subscribe(every) == (0,)
        gateway.broker.send_retained(reader.client, [every])
        told = {message.topic.removeprefix("$SYS/broker/"): message.payload for message in reader.messages()}
        assert told["version"] == b"busbridge version 1.2.3"
        assert told["uptime"] == b"0 seconds"
        assert told["bytes/received"] == b"7"
        assert told["load/bytes/received/15min"] == b"0.00"
        assert int(told["heap/maximum"]) >= int(told["heap/current"]) > 1 << 20
        assert "sockets" not in told
        assert [told[f"clients/{name}"] for name in ("total", "connected", "disconnected")] == [b"2", b"1", b"1"]
        gateway.now += 5
        gateway.broker.expire()
        topics.tell(gateway.now, {"bytes/received": 7})
        changed = {message.topic.removeprefix("$SYS/broker/"): message.payload for message in reader.messages()}
        assert changed["uptime"] == b"5 seconds"
        assert changed["clients/expired"] == b"1"
        assert not changed.keys() & {"version", "bytes/received", "clients/connected"}
    store.close()
    assert list(open_store().load("retained")) == []


def test_what_is_stored_and_shared_is_counted(open_store: OpenStore) -> None:
    with local(open_store()) as gateway:
        topics = SysTopics(gateway.broker, "1.2.3", gateway.now)
        member = gateway.connect("member", expiry_s=600)
        member.subscribe(Subscription("$share/g/a/#", 1), Subscription("a/#", 1), Subscription("$SYS/#", 1))
        topics.tell(gateway.now, {})
        member.drop()
        gateway.tell("a/b", "12345", retain=True)
        topics.tell(gateway.now, {})
        told = {message.topic: message.payload for message in gateway.retained.matching("$SYS/broker/+/+")}
        assert told["$SYS/broker/shared_subscriptions/count"] == b"1"
        assert told["$SYS/broker/subscriptions/count"] == b"3"
        of_ours = len(list(gateway.retained.matching("$SYS/#")))
        assert told["$SYS/broker/messages/stored"] == b"%d" % (2 + 1 + of_ours)
