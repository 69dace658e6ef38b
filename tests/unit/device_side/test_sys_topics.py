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
        topics.tell(gateway.now, {"bytes/received": 7})
        every = Subscription("$SYS/#")
        assert reader.subscribe(every) == (0,)
        gateway.broker.send_retained(reader.client, [every])
        told = {message.topic.removeprefix("$SYS/broker/"): message.payload for message in reader.messages()}
        assert told["version"] == b"busbridge version 1.2.3"
        assert told["uptime"] == b"0 seconds"
        assert told["bytes/received"] == b"7"
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
