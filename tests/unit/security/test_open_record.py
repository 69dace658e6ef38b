"""`open_record`: what a reader hands over is what its Kafka client gave it."""

from __future__ import annotations

import os

import pytest

from bridge import config
from bridge.security.envelope import AlteredError, Opened, Opener, Sealer, SealError, open_record
from bridge.security.recipient import X25519, PrivateKey

READER = PrivateKey(X25519, os.urandom(32))
TOPIC = "devices/dev-1/telemetry/t"


@pytest.fixture
def record() -> tuple[list[tuple[str, bytes]], bytes, bytes]:
    """Headers as a list of pairs, key and value."""
    seal, value = Sealer({"r": READER.public}, config.Sealing(), os.urandom).seal("dev-1", TOPIC, 42, b"21.5", 0.0)
    return [("mqtt-topic", TOPIC.encode()), ("gateway", b"gw"), *seal, ("seq", b"42")], b"dev-1", value


def test_a_record_of_a_gateway(record):
    headers, key, value = record
    opener = Opener([READER])
    wanted = Opened(payload=b"21.5", device="dev-1", topic=TOPIC, number=None)
    assert open_record(opener, headers, key, value) == wanted
    assert open_record(opener, dict(headers), key, value) == wanted


def test_a_record_whose_key_is_not_the_device_says_it_in_a_header(record):
    headers, key, value = record
    assert open_record(Opener([READER]), [("device", key), *headers], None, value).device == "dev-1"
    with pytest.raises(AlteredError):
        open_record(Opener([READER]), headers, None, value)
    with pytest.raises(AlteredError):
        open_record(Opener([READER]), [("device", b"dev-2"), *headers], key, value)


def test_topic_and_number_can_be_given_where_there_are_no_headers_for_them(record):
    headers, key, value = record
    seal = [pair for pair in headers if pair[0].startswith("seal")]
    assert open_record(Opener([READER]), seal, key, value, topic=TOPIC, seq=42).payload == b"21.5"


@pytest.mark.parametrize(
    ("change", "value", "problem"),
    [
        ({"seq": b"43"}, None, AlteredError),
        ({"mqtt-topic": b"devices/dev-1/telemetry/u"}, None, AlteredError),
        ({}, b"", AlteredError),
        ({"seq": b"x"}, None, SealError),
        ({"seq": b"-1"}, None, SealError),
        ({"seq": b"18446744073709551616"}, None, SealError),
        ({"mqtt-topic": b"\xff"}, None, SealError),
        ({"seal": b"2"}, None, AlteredError),
    ],
)
def test_what_is_not_as_it_was_has_a_typed_error(record, change, value, problem):
    headers, key, sealed = record
    with pytest.raises(problem):
        open_record(Opener([READER]), {**dict(headers), **change}, key, sealed if value is None else value)


@pytest.mark.parametrize("missing", ["seq", "mqtt-topic", "seal", "seal-key"])
def test_a_missing_header_has_a_typed_error(record, missing):
    headers, key, value = record
    with pytest.raises(SealError, match=missing):
        open_record(Opener([READER]), [pair for pair in headers if pair[0] != missing], key, value)


def test_headers_that_the_seal_does_not_bind_may_move(record):
    headers, key, value = record
    assert open_record(Opener([READER]), [*reversed(headers), ("replay", b"x")], key, value).payload == b"21.5"
