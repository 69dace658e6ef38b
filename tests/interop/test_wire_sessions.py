"""Sessions and subscriptions byte by byte, in 3.1.1 and 5 alike: redelivery, client ids, `$` topics, expiry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop import properties as props
from tests.interop.gateway import Gateway, wait_until
from tests.interop.wire import (
    DISCONNECT,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    UNSUBACK,
    Wire,
    packet,
    pubrel,
    subscribe,
    unsubscribe,
)

pytestmark = pytest.mark.parametrize("version", [4, 5])
LASTING_S = 60
UNKNOWN_SUBSCRIPTION = 0x11


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A client id of the test's own."""
    return str(request.node.name).replace("[", "-").replace("]", "")[-40:]


@pytest.fixture
def talker(meeting: Gateway, name: str, version: int) -> Iterator[Wire]:
    """Somebody else, who publishes."""
    with Wire(meeting.port, f"{name}-talker", version=version) as wire:
        wire.connected()
        yield wire


def come_back(meeting: Gateway, name: str, version: int) -> Wire:
    """To a session that outlives its connections."""
    return Wire(meeting.port, name, version=version, clean=False, expiry_s=LASTING_S)


def say(wire: Wire, topic: str, payload: bytes, packet_id: int = 1) -> None:
    """Publishes at QoS 1 and waits for the acknowledgement: from then on everybody has been sent it."""
    wire.publish(topic, payload, 1, packet_id)
    assert wire.packet_ids(PUBACK, 1) == [packet_id]


def answer(kind: int, packet_id: int) -> bytes:
    """PUBACK, PUBREC or PUBCOMP."""
    return packet(kind, packet_id.to_bytes(2, "big"))


@pytest.mark.paho("redelivery")
@pytest.mark.mqtt("MQTT-4.4.0-1")
def test_what_was_not_finished_is_said_again_on_the_next_connection(
    meeting: Gateway, name: str, version: int, talker: Wire
) -> None:
    with come_back(meeting, name, version) as first:
        assert not first.connected()
        assert first.subscribe(f"open/{name}", 2) == 2
        say(talker, f"open/{name}", b"one")
        talker.publish(f"open/{name}", b"two", 2, 2)
        assert talker.packet_ids(PUBREC, 1) == [2]
        one, two = first.publication(), first.publication()
        assert [(each.payload, each.qos, each.dup) for each in (one, two)] == [(b"one", 1, False), (b"two", 2, False)]
        first.send(answer(PUBREC, two.packet_id))
        assert first.receive() == (PUBREL, two.packet_id.to_bytes(2, "big"))
    with come_back(meeting, name, version) as second:
        assert second.connected()
        assert second.receive() == (PUBREL, two.packet_id.to_bytes(2, "big"))
        assert second.publication() == one._replace(dup=True)
        second.send(answer(PUBCOMP, two.packet_id) + answer(PUBACK, one.packet_id))
        second.send(packet(0xC0))
        assert second.receive()[0] == 0xD0, "the answers have been read"
    with come_back(meeting, name, version) as third:
        assert third.connected()
        say(talker, f"open/{name}", b"three", 3)
        assert third.publication().payload == b"three"


@pytest.mark.paho("redelivery")
@pytest.mark.mqtt("MQTT-4.3.3-10")
def test_what_the_client_says_again_at_qos_2_counts_once(
    meeting: Gateway, name: str, version: int, talker: Wire
) -> None:
    assert talker.subscribe(f"open/{name}", 2) == 2
    for dup in (False, True):
        with come_back(meeting, name, version) as wire:
            assert wire.connected() == dup
            wire.publish(f"open/{name}", b"once", 2, 7, dup=dup)
            assert wire.packet_ids(PUBREC, 1) == [7]
            if dup:
                wire.send(pubrel(7))
                assert wire.packet_ids(PUBCOMP, 1) == [7]
                say(wire, f"open/{name}", b"after", 8)
    assert [talker.publication().payload for _ in range(2)] == [b"once", b"after"]


@pytest.mark.paho("zero-length client id")
@pytest.mark.mqtt("MQTT-3.1.3-6", "MQTT-3.1.3-7")
def test_an_empty_client_id_is_given_another_one(meeting: Gateway, version: int) -> None:
    with Wire(meeting.port, "", version=version) as one, Wire(meeting.port, "", version=version) as two:
        answers = [one.connack(), two.connack()]
        assert [each.reason for each in answers] == [0, 0]
        if version == 5:
            given = [str(each.properties[props.ASSIGNED_CLIENT_ID]) for each in answers]
            assert len({*given, ""}) == 3
        assert one.subscribe("open/both", 0) == 0, "two anonymous clients are two clients"
    with Wire(meeting.port, "", version=version, clean=False) as lasting:
        assert lasting.connack().reason == (2 if version == 4 else 0)


@pytest.mark.paho("dollar topics")
@pytest.mark.mqtt("MQTT-4.7.2-1")
def test_wildcards_pass_over_topics_that_begin_with_a_dollar(
    meeting: Gateway, name: str, version: int, talker: Wire
) -> None:
    with Wire(meeting.port, name, version=version) as wide, Wire(meeting.port, f"{name}-2", version=version) as aimed:
        wide.connected(), aimed.connected()
        assert [wide.subscribe(f"+/{name}"), wide.subscribe("#")] == [0, 0]  # what is retained comes behind the last
        assert aimed.subscribe(f"$open/{name}") == 0
        say(talker, f"$open/{name}", b"hidden")
        say(talker, f"open/{name}", b"plain")
        assert aimed.publication().payload == b"hidden"
        topics = []
        while f"open/{name}" not in topics:  # `#` may hear what other tests left to be said
            topics.append(wide.publication().topic)
        assert not [topic for topic in topics if topic.startswith("$")]


@pytest.mark.paho("unsubscribe")
@pytest.mark.mqtt("MQTT-3.10.4-1", "MQTT-3.10.4-2", "MQTT-3.11.3-2")
def test_unsubscribing_ends_it(meeting: Gateway, name: str, version: int, talker: Wire) -> None:
    with Wire(meeting.port, name, version=version) as wire:
        wire.connected()
        assert [wire.subscribe(f"open/{name}/{end}", 1) for end in ("a", "b")] == [1, 1]
        for known in (True, False):
            wire.send(unsubscribe(f"open/{name}/a", version=version))
            kind, body = wire.receive()
            assert (kind, body[:2]) == (UNSUBACK, b"\0\x02")
            if version == 5:
                assert body[-1] == (0 if known else UNKNOWN_SUBSCRIPTION)
        say(talker, f"open/{name}/a", b"unheard", 1)
        say(talker, f"open/{name}/b", b"heard", 2)
        assert wire.publication().payload == b"heard"


@pytest.mark.paho("overlapping")
@pytest.mark.mqtt("MQTT-3.3.4-2")
def test_overlapping_subscriptions_give_one_copy_at_the_highest_qos(
    meeting: Gateway, name: str, version: int, talker: Wire
) -> None:
    with Wire(meeting.port, name, version=version) as wire:
        wire.connected()
        filters = (f"open/{name}/#", 2), (f"open/{name}/+", 1), (f"+/{name}/x", 0)
        assert [wire.subscribe(*each) for each in filters] == [2, 1, 0]
        talker.publish(f"open/{name}/x", b"x", 2, 1)
        talker.publish(f"open/{name}", b"end", 0)
        assert [(each.payload, each.qos) for each in (wire.publication(), wire.publication())] == [
            (b"x", 2),
            (b"end", 0),
        ]


@pytest.mark.paho("session expiry")
@pytest.mark.mqtt("MQTT-3.1.2-23")
def test_a_session_lasts_as_long_as_was_agreed(meeting: Gateway, name: str, version: int, talker: Wire) -> None:
    for present in (False, True):
        with come_back(meeting, name, version) as wire:
            assert wire.connected() == present
    if version == 4:
        with Wire(meeting.port, name) as clean:
            assert not clean.connected()
    else:
        with come_back(meeting, name, version) as wire:
            assert wire.connected()
            wire.send(packet(DISCONNECT, b"\0" + props.encode({props.EXPIRY: 0})))
            with pytest.raises(ConnectionError):
                wire.receive()
        assert talker.subscribe(f"open/{name}") == 0
        options = {"expiry_s": 1, "will": (f"open/{name}", b"its session is over"), "will_delay_s": 600}
        with Wire(meeting.port, name, version=5, clean=False, **options) as brief:
            assert not brief.connected(), "DISCONNECT has ended it"
        assert talker.publication().payload == b"its session is over"
    with come_back(meeting, name, version) as wire:
        assert not wire.connected()


@pytest.mark.paho("keep-alive")
@pytest.mark.mqtt("MQTT-3.1.2-22", "MQTT-3.12.4-1")
def test_who_says_nothing_is_gone_after_one_and_a_half_keep_alives(broker: Gateway, name: str, version: int) -> None:
    with (
        Wire(broker.port, name, version=version, keepalive_s=1) as silent,
        Wire(broker.port, f"{name}-pings", version=version, keepalive_s=1) as pings,
    ):
        silent.connected(), pings.connected()

        def ended() -> bool:
            pings.send(packet(0xC0))
            assert pings.receive()[0] == 0xD0
            try:
                kind, body = silent.receive(0.2)
                assert (version, kind, body[:1]) == (5, DISCONNECT, b"\x8d")
            except TimeoutError:
                return False
            except ConnectionError:
                return True
            return False

        wait_until(ended, "the end of the silent one")
        wait_until(lambda: broker.presence(name).get("reason") == "keepalive", "its presence says why")
        assert broker.presence(f"{name}-pings")["state"] == "online"


@pytest.mark.paho("basic")
def test_a_filter_may_be_subscribed_to_again(meeting: Gateway, name: str, version: int, talker: Wire) -> None:
    """The newer one replaces the older one [MQTT-3.8.4-3]."""
    with Wire(meeting.port, name, version=version) as wire:
        wire.connected()
        wire.send(subscribe(f"open/{name}", 0, version=version) + subscribe(f"open/{name}", 1, version=version))
        wire.receive(), wire.receive()
        say(talker, f"open/{name}", b"1")
        assert wire.publication().qos == 1
        talker.publish(f"open/{name}", b"0", 0)
        assert (wire.publication().payload, wire.silent(0.1)) == (b"0", True)
