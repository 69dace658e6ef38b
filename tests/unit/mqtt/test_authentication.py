"""Extended authentication (MQTT5 §4.12), with a challenge and response made by hand; the product offers no method."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

import pytest

from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.authentication import NotAuthenticated, Step
from bridge.mqtt.encode import encode
from bridge.mqtt.events import ConnectRequested, Disconnected, Event
from bridge.mqtt.framing import PacketStream
from bridge.mqtt.packets import Packet, Properties
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session import Session
from bridge.mqtt.session_state import SessionState
from tests.unit.mqtt.support import LIMITS

METHOD = "TEST-SCRAM"
SECRETS = {"c": b"secret of c"}
CONTINUE, AGAIN = Reason.CONTINUE_AUTHENTICATION, Reason.RE_AUTHENTICATE


def proof(secret: bytes, text: bytes) -> bytes:
    return hmac.digest(secret, text, hashlib.sha256)


class Challenge:
    """The server's half: a nonce, the client's proof that it has the secret, and ours."""

    def __init__(self, client_id: str) -> None:
        self._secret = SECRETS.get(client_id, b"")
        self._talk = self._steps()
        self._said: bytes | None = None

    def step(self, data: bytes | None) -> Step:
        self._said = data
        return next(self._talk)

    def _steps(self) -> Iterator[Step]:
        if not self._said:
            raise NotAuthenticated("no nonce")
        nonce = self._said + b"/ours"
        yield Step(nonce, done=False)
        if self._said != proof(self._secret, nonce):
            raise NotAuthenticated("wrong proof")
        yield Step(proof(self._secret, b"server" + nonce), done=True)


class Talk:
    """A client of that method."""

    def __init__(self) -> None:
        self.session = Session(LIMITS, methods={METHOD: Challenge})
        self._stream = PacketStream(5)

    def send(self, packet: Packet) -> list[Event]:
        return self.session.receive(encode(packet, 5), 0.0)

    def answers(self) -> list[Packet]:
        return list(self._stream.feed(self.session.take_output()))

    def begin(self, method: str = METHOD, client_id: str = "c", data: bytes = b"nonce") -> list[Event]:
        return self.send(packets.Connect(client_id, True, 5, properties=said(data, method)))

    def go_on(self, data: bytes, reason: Reason = CONTINUE, method: str = METHOD) -> list[Event]:
        return self.send(packets.Auth(reason, said(data, method)))

    def connect(self) -> None:
        self.begin()
        self.answers()
        (request,) = self.go_on(proof(SECRETS["c"], b"nonce/ours"))
        assert isinstance(request, ConnectRequested)
        self.session.accept(SessionState("c", 5, 0, LIMITS), present=False, now=0.0)


def said(data: bytes, method: str = METHOD) -> Properties:
    return {Property.AUTHENTICATION_METHOD: method, Property.AUTHENTICATION_DATA: data}


@pytest.fixture
def talk() -> Talk:
    return Talk()


@pytest.mark.mqtt("MQTT-4.12.0-2", "MQTT-4.12.0-5")
def test_it_is_asked_for_until_it_is_done_and_only_then_does_it_connect(talk: Talk) -> None:
    assert talk.begin() == []
    assert talk.answers() == [packets.Auth(CONTINUE, said(b"nonce/ours"))]
    (request,) = talk.go_on(proof(SECRETS["c"], b"nonce/ours"))
    assert isinstance(request, ConnectRequested)
    assert request.client_id == "c"
    assert talk.answers() == []
    talk.session.accept(SessionState("c", 5, 0, LIMITS), present=False, now=0.0)
    (connack,) = talk.answers()
    assert isinstance(connack, packets.Connack)
    assert connack.reason == Reason.SUCCESS
    assert said(proof(SECRETS["c"], b"servernonce/ours")).items() <= connack.properties.items()


@pytest.mark.mqtt("MQTT-4.12.0-4")
def test_who_is_refused_hears_why_and_is_gone(talk: Talk) -> None:
    talk.begin()
    talk.answers()
    (event,) = talk.go_on(b"guessed")
    assert isinstance(event, Disconnected)
    (refusal,) = talk.answers()
    assert isinstance(refusal, packets.Connack)
    assert refusal.reason == Reason.NOT_AUTHORIZED
    assert talk.session.closed


def test_a_method_may_be_done_or_refuse_at_once(talk: Talk) -> None:
    (event,) = talk.begin(data=b"")
    assert isinstance(event, Disconnected)
    assert event.reason == Reason.NOT_AUTHORIZED


@pytest.mark.mqtt("MQTT-4.12.0-1")
def test_a_method_that_is_not_offered_is_refused(talk: Talk) -> None:
    talk.begin("OTHER")
    (refusal,) = talk.answers()
    assert isinstance(refusal, packets.Connack)
    assert refusal.reason == Reason.BAD_AUTHENTICATION_METHOD


@pytest.mark.mqtt("MQTT-3.1.2-30")
@pytest.mark.parametrize("early", [packets.Pingreq(), Message("t", b"x"), packets.Connect("c", version=5)])
def test_before_it_is_done_nothing_else_may_be_said(talk: Talk, early: Packet) -> None:
    talk.begin()
    (event,) = talk.send(early)
    assert isinstance(event, Disconnected)
    assert event.reason == Reason.PROTOCOL_ERROR


def test_good_bye_may_be_said(talk: Talk) -> None:
    talk.begin()
    (event,) = talk.send(packets.Disconnect())
    assert isinstance(event, Disconnected)
    assert event.by_client


@pytest.mark.mqtt("MQTT-4.12.1-1")
def test_it_may_be_done_again_while_messages_pass(talk: Talk) -> None:
    talk.connect()
    talk.answers()
    assert talk.go_on(b"fresh", AGAIN) == []
    assert talk.answers() == [packets.Auth(CONTINUE, said(b"fresh/ours"))]
    assert talk.send(Message("t", b"x")) == [Message("t", b"x")]
    assert talk.go_on(proof(SECRETS["c"], b"fresh/ours")) == []
    assert talk.answers() == [packets.Auth(Reason.SUCCESS, said(proof(SECRETS["c"], b"serverfresh/ours")))]


@pytest.mark.mqtt("MQTT-4.12.1-2")
def test_who_fails_later_is_disconnected(talk: Talk) -> None:
    talk.connect()
    talk.go_on(b"fresh", AGAIN)
    talk.answers()
    talk.go_on(b"guessed")
    (last,) = talk.answers()
    assert isinstance(last, packets.Disconnect)
    assert last.reason == Reason.NOT_AUTHORIZED


@pytest.mark.parametrize(
    ("reason", "method"), [(AGAIN, "OTHER"), (CONTINUE, METHOD), (Reason.SUCCESS, METHOD)], ids=str
)
@pytest.mark.mqtt("MQTT-4.12.0-5", "MQTT-4.12.1-1")
def test_out_of_turn_or_with_another_method_it_is_an_error(talk: Talk, reason: Reason, method: str) -> None:
    talk.connect()
    talk.answers()
    talk.go_on(b"fresh", reason, method)
    (last,) = talk.answers()
    assert isinstance(last, packets.Disconnect)
    assert last.reason == Reason.PROTOCOL_ERROR


def test_one_at_a_time(talk: Talk) -> None:
    talk.connect()
    talk.go_on(b"fresh", AGAIN)
    (event,) = talk.go_on(b"fresher", AGAIN)
    assert isinstance(event, Disconnected)
    assert event.reason == Reason.PROTOCOL_ERROR
