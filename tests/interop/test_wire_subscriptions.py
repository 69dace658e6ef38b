"""Subscriptions, retained messages, wills and order, byte by byte, in 3.1.1 and 5 alike (MQTT5 §3, §4)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.gateway import Gateway
from tests.interop.wire import (
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    SUBACK,
    UNSUBACK,
    Wire,
    packet,
    publish,
    pubrel,
    subscribe,
    text,
    unsubscribe,
)

pytestmark = pytest.mark.parametrize("version", [4, 5])
SECRET = "$other/secret"
"""Nobody may subscribe to it."""


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A client id, and a level of the topics, of the test's own."""
    return str(request.node.name).replace("[", "-").replace("]", "")[-40:]


@pytest.fixture
def talker(meeting: Gateway, name: str, version: int) -> Iterator[Wire]:
    """Somebody else, who publishes."""
    with Wire(meeting.port, f"{name}-talker", version=version) as wire:
        wire.connected()
        yield wire


@pytest.fixture
def listener(meeting: Gateway, name: str, version: int) -> Iterator[Wire]:
    with Wire(meeting.port, name, version=version) as wire:
        wire.connected()
        yield wire


def say(wire: Wire, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
    """Publishes and waits for the acknowledgement: from then on everybody has been sent it."""
    data = publish(topic, payload, qos, 1, version=wire.version)
    wire.send(bytes((data[0] | retain,)) + data[1:])
    if qos:
        assert wire.packet_ids(PUBACK, 1) == [1]


def ask(wire: Wire, *filters: tuple[str, int]) -> list[int]:
    """One SUBSCRIBE for all of them; the reasons of its SUBACK."""
    properties = b"\0" if wire.version == 5 else b""
    wire.send(packet(0x82, b"\0\x07" + properties + b"".join(text(each) + bytes((wish,)) for each, wish in filters)))
    kind, body = wire.receive()
    assert (kind, body[: 2 + len(properties)]) == (SUBACK, b"\0\x07" + properties)
    return list(body[2 + len(properties) :])


def nothing_more(wire: Wire) -> bool:
    """What was sent to it before has come: the answer to a ping is next."""
    wire.send(packet(0xC0))
    return wire.receive()[0] == PINGRESP


@pytest.mark.mqtt(
    "MQTT-3.8.4-5", "MQTT-3.8.4-6", "MQTT-3.8.4-7", "MQTT-3.9.3-1", "MQTT-3.9.3-2", "MQTT-3.3.2-3", "MQTT-4.5.0-1"
)
def test_several_filters_have_one_answer_with_a_reason_for_each(name: str, listener: Wire, talker: Wire) -> None:
    refused = 0x87 if listener.version == 5 else 0x80
    filters = (f"open/{name}/a", 2), (SECRET, 1), (f"open/{name}/b", 0), (f"open/{name}/c", 1)
    assert ask(listener, *filters) == [2, refused, 0, 1]
    for end in "abcd":
        say(talker, f"open/{name}/{end}", b"x")
    came = [listener.publication() for _ in range(3)]
    assert [(each.topic, each.qos) for each in came] == [
        (f"open/{name}/a", 1),
        (f"open/{name}/b", 0),
        (f"open/{name}/c", 1),
    ]
    assert nothing_more(listener)


@pytest.mark.mqtt("MQTT-3.10.4-6", "MQTT-3.11.3-1", "MQTT-3.11.3-2")
def test_several_filters_are_left_with_one_answer(name: str, listener: Wire, talker: Wire) -> None:
    ask(listener, *((f"open/{name}/{end}", 0) for end in "abc"))
    properties = b"\0" if listener.version == 5 else b""
    filters = text(f"open/{name}/a") + text(f"open/{name}/c") + text("never/asked/for")
    listener.send(packet(0xA2, b"\0\x09" + properties + filters))
    reasons = b"\0\0\x11" if listener.version == 5 else b""
    assert listener.receive() == (UNSUBACK, b"\0\x09" + properties + reasons)
    for end in "abc":
        say(talker, f"open/{name}/{end}", b"x")
    assert listener.publication().topic == f"open/{name}/b"
    assert nothing_more(listener)


@pytest.mark.mqtt("MQTT-3.10.4-3")
def test_what_was_begun_is_finished_after_unsubscribing(name: str, listener: Wire, talker: Wire, version: int) -> None:
    listener.subscribe(f"open/{name}", 2)
    talker.publish(f"open/{name}", b"x", 2, 1)
    assert talker.packet_ids(PUBREC, 1) == [1]
    begun = listener.publication()
    listener.send(unsubscribe(f"open/{name}", version=version))
    assert listener.receive()[0] == UNSUBACK
    listener.send(packet(PUBREC, begun.packet_id.to_bytes(2, "big")))
    assert listener.receive() == (PUBREL, begun.packet_id.to_bytes(2, "big")), "without 0x92: it is known"
    listener.send(packet(PUBCOMP, begun.packet_id.to_bytes(2, "big")))
    assert nothing_more(listener)


@pytest.mark.mqtt("MQTT-3.3.1-5", "MQTT-3.3.1-9", "MQTT-3.8.4-3", "MQTT-3.8.4-4")
@pytest.mark.mqtt311("MQTT-3.3.1-8", "MQTT-3.3.1-5", "MQTT-3.3.1-6", "MQTT-3.3.1-7")
def test_the_last_retained_message_comes_with_every_subscription(name: str, listener: Wire, talker: Wire) -> None:
    """The newest, with the retain flag and its QoS, also one of QoS 0; and what comes meanwhile is not lost."""
    topic = f"open/{name}"
    say(talker, topic, b"old", retain=True)
    say(talker, topic, b"new", qos=0, retain=True)
    say(talker, f"{topic}/kept", b"kept", retain=True)
    for _ in range(2):
        listener.send(subscribe(f"{topic}/#", 1, version=listener.version))
        assert listener.receive()[0] == SUBACK
        came = sorted((each.payload, each.qos, each.retain) for each in (listener.publication() for _ in range(2)))
        assert came == [(b"kept", 1, True), (b"new", 0, True)]
    say(talker, topic, b"live", qos=1)
    assert (listener.publication().payload, nothing_more(listener)) == (b"live", True)


@pytest.mark.mqtt("MQTT-3.3.1-12")
def test_a_subscription_that_stands_gets_it_without_the_flag(name: str, listener: Wire, talker: Wire) -> None:
    listener.subscribe(f"open/{name}")
    say(talker, f"open/{name}", b"x", retain=True)
    assert not listener.publication().retain


@pytest.mark.mqtt("MQTT-3.3.1-6", "MQTT-3.3.1-7", "MQTT-3.3.1-8")
def test_only_an_empty_retained_message_ends_a_retained_one(name: str, listener: Wire, talker: Wire) -> None:
    """It is passed on, and not kept; what is not retained leaves what is kept alone."""
    topic = f"open/{name}"
    say(talker, topic, b"kept", retain=True)
    say(talker, topic, b"passing")
    say(talker, topic, b"")
    assert (listener.subscribe(topic), listener.publication().payload) == (0, b"kept")
    say(talker, topic, b"", retain=True)
    came = listener.publication()
    assert (came.payload, came.retain) == (b"", False)
    assert (listener.subscribe(topic), nothing_more(listener)) == (0, True)


@pytest.mark.mqtt("MQTT-3.1.2-14", "MQTT-3.1.2-15")
@pytest.mark.parametrize("retain", [False, True])
def test_a_will_is_retained_if_it_says_so(
    meeting: Gateway, name: str, listener: Wire, version: int, retain: bool
) -> None:
    topic = f"open/{name}"
    listener.subscribe(topic)
    will = (b"\0" if version == 5 else b"") + text(topic) + text("gone")
    flags = 0x06 | retain << 5
    head = text("MQTT") + bytes((version, flags)) + b"\0\0" + (b"\0" if version == 5 else b"")
    dying = Wire(meeting.port, f"{name}-3", raw=packet(0x10, head + text(f"{name}-3") + will), version=version)
    dying.connected()
    dying.sock.close()
    came = listener.publication()
    assert (came.payload, came.retain) == (b"gone", False)
    listener.send(subscribe(topic, version=version))
    assert listener.receive()[0] == SUBACK
    if retain:
        late = listener.publication()
        assert (late.payload, late.retain) == (b"gone", True)
    assert nothing_more(listener)


@pytest.mark.mqtt311("MQTT-3.1.2-7", "MQTT-3.1.2-12")
def test_no_will_without_one_and_what_is_retained_outlives_its_client(
    meeting: Gateway, name: str, listener: Wire, version: int
) -> None:
    topic = f"open/{name}"
    with Wire(meeting.port, f"{name}-2", version=version) as brief:
        brief.connected()
        say(brief, f"{topic}/kept", b"kept", retain=True)
    listener.subscribe(f"{topic}/#")
    assert listener.publication().payload == b"kept"
    assert nothing_more(listener)


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.mqtt("MQTT-4.6.0-5", "MQTT-4.6.0-6")
def test_order_is_kept_for_each_topic_and_quality(name: str, listener: Wire, talker: Wire, qos: int) -> None:
    listener.subscribe(f"open/{name}", 2)
    texts = [b"%d" % number for number in range(6)]
    for number, payload in enumerate(texts, 1):
        talker.publish(f"open/{name}", payload, qos, number)
    assert [listener.publication().payload for _ in texts] == texts


@pytest.mark.parametrize(("qos", "answer"), [(1, PUBACK), (2, PUBREC)])
@pytest.mark.mqtt("MQTT-4.6.0-2", "MQTT-4.6.0-3")
def test_answers_come_in_the_order_of_what_they_answer(name: str, talker: Wire, qos: int, answer: int) -> None:
    wanted = [5, 2, 7, 1, 6]
    talker.send(b"".join(publish(f"open/{name}", b"x", qos, each, version=talker.version) for each in wanted))
    assert talker.packet_ids(answer, len(wanted)) == wanted
    if qos == 2:
        talker.send(b"".join(pubrel(each) for each in wanted))
        assert talker.packet_ids(PUBCOMP, len(wanted)) == wanted


@pytest.mark.parametrize("topic", ["Caf\u00e9", "cafe\u0301", "caf\u00e9/", "/caf\u00e9", "caf\u00e9 "])
@pytest.mark.mqtt("MQTT-4.7.3-4", "MQTT-3.10.4-1")
def test_nothing_is_normalised(name: str, listener: Wire, talker: Wire, topic: str) -> None:
    """Neither where messages look for subscriptions nor where filters are left."""
    filters = [f"open/{name}/caf\u00e9", f"open/{name}/{topic}"]
    ask(listener, *((each, 0) for each in filters))
    for each in filters:
        say(talker, each, each.encode())
    assert [listener.publication().topic for _ in filters] == filters
    listener.send(unsubscribe(filters[1], version=listener.version))
    assert listener.receive()[0] == UNSUBACK
    for each in filters:
        say(talker, each, b"")
    assert (listener.publication().topic, nothing_more(listener)) == (filters[0], True)


@pytest.mark.parametrize("client_id", ["a", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"])
@pytest.mark.mqtt("MQTT-3.1.3-5")
def test_every_client_id_of_23_letters_and_digits_is_taken(meeting: Gateway, version: int, client_id: str) -> None:
    with Wire(meeting.port, client_id, version=version) as wire:
        assert wire.connected() is False


@pytest.mark.mqtt("MQTT-3.1.2-4", "MQTT-3.1.2-6", "MQTT-3.1.3-2", "MQTT-3.1.4-4", "MQTT-3.2.2-2", "MQTT-3.2.2-3")
def test_a_session_belongs_to_its_client_id_until_a_clean_start(
    meeting: Gateway, name: str, version: int, talker: Wire
) -> None:
    """Its subscriptions with it: a client that comes back has them, one that starts anew and another have not."""

    def come(client_id: str, *, clean: bool = False) -> Wire:
        return Wire(meeting.port, client_id, version=version, clean=clean, expiry_s=60)

    for other in (f"{name}-a", f"{name}-b"):
        with come(other) as wire:
            assert (wire.connected(), wire.subscribe(f"open/{other}", 1)) == (False, 1)
    with come(f"{name}-a", clean=True) as anew, come(f"{name}-b") as back:
        assert (anew.connected(), back.connected()) == (False, True)
        for other in (f"{name}-a", f"{name}-b"):
            say(talker, f"open/{other}", b"x")
        assert back.publication().topic == f"open/{name}-b"
        assert nothing_more(back)
        assert nothing_more(anew)


@pytest.mark.mqtt("MQTT-3.1.4-3")
def test_an_older_connection_is_closed(meeting: Gateway, name: str, version: int) -> None:
    with Wire(meeting.port, f"{name}-x", version=version) as older, Wire(meeting.port, f"{name}-y") as other:
        older.connected(), other.connected()
        with Wire(meeting.port, f"{name}-x", version=version) as newer:
            newer.connected()
            if version == 5:
                assert older.receive() == (0xE0, b"\x8e")
            with pytest.raises(ConnectionError):
                older.receive()
            assert nothing_more(newer)
            assert nothing_more(other)
