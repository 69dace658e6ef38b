"""What devices are told of themselves is found by any filter, though nobody keeps it as a retained message."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.config import Limits
from bridge.device_side.cold import ColdStore
from bridge.device_side.desired import Desired
from bridge.device_side.documents import Document
from bridge.device_side.told import devices_in, messages_of, topic_of
from bridge.message import Message
from bridge.mqtt.subscription import Subscription
from bridge.mqtt.topics import is_valid_filter, matches
from tests.unit.device_side.local import local

LEVEL = st.sampled_from(["devices", "a", "b", "state", "desired", "delta", "+", "$SYS"])
FILTERS = st.lists(LEVEL, min_size=1, max_size=6).map("/".join) | st.builds(
    lambda levels: "/".join([*levels, "#"]), st.lists(LEVEL, max_size=5)
)


@given(FILTERS.filter(is_valid_filter), st.sampled_from(["a", "b", "a/b"]))
def test_a_device_is_among_those_that_a_filter_may_mean(topic_filter: str, device: str) -> None:
    levels = topic_filter.split("/")[1:3]
    if "/" in device and "+" in levels[1:]:
        return  # (an id of several levels is found by all of them, or by none)
    wanted = devices_in(topic_filter)
    if any(matches(topic_filter, topic_of(device, name)) for name in ("desired", "delta")):
        assert wanted is None or device in wanted


def test_nothing_is_told_where_nothing_is_desired() -> None:
    assert list(messages_of(Document("dev-1"))) == []
    desired = Desired(version=3, at="", state={"a": 1, "b": 2})
    told = list(messages_of(Document("dev-1", desired=desired, delta={"b": 2})))
    assert [(each.topic, each.payload) for each in told] == [
        ("devices/dev-1/state/desired", b'{"version":3,"state":{"a":1,"b":2}}'),
        ("devices/dev-1/state/delta", b'{"version":3,"state":{"b":2}}'),
    ]


def test_it_takes_no_room_from_retained_messages_and_comes_before_one_of_the_same_name(cold: ColdStore) -> None:
    documents = [Document(f"dev-{number}", desired=Desired(version=1, at="", state={})) for number in range(5)]

    def told(topic_filter: str) -> list[Message]:
        found = [message for document in documents for message in messages_of(document)]
        return [message for message in found if matches(topic_filter, message.topic)]

    with local(cold, limits=Limits(retained=1)) as gateway:
        gateway.retained.elsewhere = told
        gateway.tell("devices/dev-2/state/desired", "what somebody else said", retain=True)
        peer = gateway.connect("reader")
        every = Subscription("devices/+/state/desired", 1)
        peer.subscribe(every)
        gateway.broker.send_retained(peer.client, [every])
        messages = peer.messages()
        assert [message.topic for message in messages] == [f"devices/dev-{number}/state/desired" for number in range(5)]
        assert {message.payload for message in messages} == {b'{"version":1,"state":{}}'}
        assert all(message.retain for message in messages)
        documents.pop(2)
        gateway.broker.pass_on(Message("devices/dev-2/state/desired", b"", 1, retain=True))
        gateway.broker.send_retained(peer.client, [Subscription("devices/dev-2/state/#", 1)])
        assert [message.payload for message in peer.messages()] == [b""]
