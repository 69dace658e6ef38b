"""What a device seals itself: it opens in its own place only, repetitions show, the guard lets nothing else pass."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import config
from bridge.security.device_seal import DEVICE_RECIPIENTS_MAX, MAGIC, DeviceSealer, NotSealedError, SealedByDevice
from bridge.security.envelope import AlteredError, Headers, NotARecipientError, Opener, Sealer, SealError, open_record
from bridge.security.recipient import MLKEM768_X25519, X25519, PrivateKey

READER = PrivateKey(X25519, os.urandom(32))
SECOND = PrivateKey(MLKEM768_X25519, os.urandom(32))
STRANGER = PrivateKey(X25519, os.urandom(32))
DEVICE, TOPIC = "dev-é", "devices/dev-é/t"


def device(*readers: PrivateKey, name: str = DEVICE, **options: int) -> DeviceSealer:
    return DeviceSealer(name, [key.public for key in readers or (READER,)], os.urandom, **options)


def guard(*known: PrivateKey, devices_max: int = 10) -> SealedByDevice:
    return SealedByDevice([key.public for key in known or (READER,)], devices_max)


def passed(published: bytes, name: str = DEVICE) -> tuple[Headers, bytes]:
    return guard().seal(name, TOPIC, 7, published, 0.0)


def read(headers: Headers, value: bytes, name: str = DEVICE, topic: str = TOPIC, key: PrivateKey = READER) -> bytes:
    given = {**dict(headers), "mqtt-topic": topic.encode(), "seq": b"7"}
    return open_record(Opener([key]), given, name.encode(), value).payload


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=40), st.binary(max_size=300))
def test_every_recipient_opens_what_a_device_sealed(name, topic, payload):
    published = device(SECOND, READER, name=name).seal(topic, payload)
    headers, value = guard(READER).seal(name, topic, 1, published, 0.0)
    assert len(value) == 8 + len(payload) + 16
    assert published.endswith(value)
    assert [read(headers, value, name, topic, key) for key in (READER, SECOND)] == [payload, payload]
    with pytest.raises(NotARecipientError):
        read(headers, value, name, topic, STRANGER)


def test_every_altered_bit_of_what_a_device_published_is_refused_or_does_not_open():
    published = device().seal(TOPIC, b"payload")
    for bit in range(8 * len(published)):
        changed = bytearray(published)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealError):
            read(*passed(bytes(changed)))
    for end in range(len(published)):
        with pytest.raises(SealError):
            read(*passed(published[:end]))
    with pytest.raises(AlteredError):
        read(*passed(published + b"\0"))


@pytest.mark.parametrize(("name", "topic"), [("dev-2", TOPIC), (DEVICE, "devices/dev-é/u"), (DEVICE + "d", TOPIC[1:])])
def test_it_opens_as_its_device_on_its_topic_only(name, topic):
    headers, value = passed(device().seal(TOPIC, b"x"))
    assert read(headers, value) == b"x"
    with pytest.raises(AlteredError):
        read(headers, value, name, topic)


def test_a_repeated_record_shows_by_its_number():
    sealer, opener = device(last_number=2**40), Opener([READER])
    records = [passed(sealer.seal(TOPIC, b"x")) for _ in range(3)]
    records.insert(2, records[0])
    given = {"mqtt-topic": TOPIC.encode()}
    numbers = [open_record(opener, {**dict(h), **given}, DEVICE.encode(), v).number for h, v in records]
    assert [number - 2**40 for number in numbers] == [1, 2, 1, 3]


def test_a_number_cannot_be_another_one():
    headers, value = passed(device().seal(TOPIC, b"x"))
    with pytest.raises(AlteredError):
        read(headers, (99).to_bytes(8, "big") + value[8:])


def test_what_a_gateway_sealed_passes_for_no_devices_own_nor_the_other_way_round():
    sealer = Sealer({"r": READER.public}, config.Sealing(), os.urandom)
    by_gateway, by_device = sealer.seal(DEVICE, TOPIC, 7, b"x", 0.0), passed(device().seal(TOPIC, b"x"))
    for (headers, value), other in ((by_gateway, b"2"), (by_device, b"1")):
        with pytest.raises(AlteredError):
            read((("seal", other), headers[1]), value)


def test_a_content_key_serves_so_many_payloads_and_numbers_go_on():
    sealer = device(key_max_payloads=2)
    records = [passed(sealer.seal(TOPIC, b"x")) for _ in range(5)]
    assert len({headers for headers, _ in records}) == 3
    assert [int.from_bytes(value[:8], "big") for _, value in records] == [1, 2, 3, 4, 5]


def test_the_last_number_is_the_last():
    sealer = device(last_number=2**64 - 2)
    assert read(*passed(sealer.seal(TOPIC, b"x"))) == b"x"
    with pytest.raises(OverflowError):
        sealer.seal(TOPIC, b"x")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not sealed"),
        (b'{"t": 21.5}', "not sealed"),
        (MAGIC, "not sealed"),
        (MAGIC[:-1] + b"1" + bytes(200), "not sealed"),
        (MAGIC + b"\xff\xff" + bytes(200), "cut short"),
        (MAGIC + b"\0\0" + bytes(24), "empty"),
        (MAGIC + b"\0\2\1\0" + bytes(24), "cut short"),
        (MAGIC + b"\0\1\0" + bytes(24), "nobody"),
    ],
)
def test_what_is_not_sealed_is_refused_in_words_without_the_payload(payload, reason):
    with pytest.raises(NotSealedError, match=reason) as refused:
        passed(payload)
    assert "21.5" not in str(refused.value)


def test_sealed_for_strangers_or_for_too_many_is_refused():
    with pytest.raises(NotSealedError, match="nobody whom this route knows"):
        passed(device(STRANGER).seal(TOPIC, b"x"))
    with pytest.raises(ValueError, match="1 to 16"):
        device(*[READER] * (DEVICE_RECIPIENTS_MAX + 1))
    published = device(*[READER] * DEVICE_RECIPIENTS_MAX).seal(TOPIC, b"x")
    block = bytes((17,)) + published[8:-25] + published[8 : 8 + 104]
    with pytest.raises(NotSealedError, match="17 recipients"):
        passed(MAGIC + len(block).to_bytes(2, "big") + block + published[-25:])


def test_the_guard_gives_the_very_same_headers_while_a_device_keeps_its_key_and_forgets_devices():
    watching, one, other = guard(devices_max=1), device(name="a"), device(name="b")
    first = watching.seal("a", TOPIC, 1, one.seal(TOPIC, b""), 0.0)[0]
    assert watching.seal("a", TOPIC, 2, one.seal(TOPIC, b""), 0.0)[0] is first
    watching.seal("b", TOPIC, 3, other.seal(TOPIC, b""), 0.0)
    again = watching.seal("a", TOPIC, 4, one.seal(TOPIC, b""), 0.0)[0]
    assert again == first
    assert again is not first


@given(st.binary(max_size=200))
def test_the_guard_refuses_or_splits_anything(rest):
    payload = MAGIC + rest
    try:
        headers, value = passed(payload)
    except NotSealedError:
        return
    assert payload.endswith(dict(headers)["seal-key"] + value)
