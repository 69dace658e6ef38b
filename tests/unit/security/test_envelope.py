"""Sealing: what was sealed opens, and only it, and only for its readers."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import config
from bridge.security.envelope import (
    AlteredError,
    NotARecipientError,
    Opener,
    Sealer,
    SealError,
    open_sealed,
    parse_key_block,
)
from bridge.security.recipient import MLKEM768_X25519, X25519, PrivateKey, PublicKey

READER = PrivateKey(X25519, os.urandom(32))
SECOND = PrivateKey(X25519, os.urandom(32))
POST_QUANTUM = PrivateKey(MLKEM768_X25519, os.urandom(32))
STRANGER = PrivateKey(X25519, os.urandom(32))

devices = st.text(min_size=1, max_size=20)
topics = st.text(min_size=1, max_size=40)
seqs = st.integers(0, 2**64 - 1)


def sealer(*readers: PrivateKey, **limits: float) -> Sealer:
    return Sealer({str(n): key.public for n, key in enumerate(readers)}, config.Sealing(**limits), os.urandom)


@settings(max_examples=60, deadline=None)
@given(
    devices,
    topics,
    seqs,
    st.binary(max_size=300),
    st.sampled_from([(READER,), (POST_QUANTUM,), (SECOND, READER, POST_QUANTUM)]),
)
def test_every_recipient_opens_what_was_sealed(device, topic, seq, payload, readers):
    headers, sealed = sealer(*readers).seal(device, topic, seq, payload, 0.0)
    assert len(sealed) == len(payload) + 20
    assert [open_sealed(key, dict(headers), device, topic, seq, sealed) for key in readers] == [payload] * len(readers)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_one_changed_bit_anywhere_and_it_does_not_open(data):
    device, topic, seq = "dev-1", "devices/dev-1/t", 77
    headers, sealed = sealer(READER, SECOND).seal(device, topic, seq, b"payload", 0.0)
    parts = {"sealed": sealed, **dict(headers)}
    name = data.draw(st.sampled_from(sorted(parts)))
    bit = data.draw(st.integers(0, 8 * len(parts[name]) - 1))
    changed = bytearray(parts[name])
    changed[bit // 8] ^= 1 << bit % 8
    parts[name] = bytes(changed)
    with pytest.raises(SealError):
        open_sealed(READER, parts, device, topic, seq, parts["sealed"])


@pytest.mark.parametrize(
    ("device", "topic", "seq"),
    [("dev-2", "a/b", 7), ("dev-1", "a/c", 7), ("dev-1", "a/b", 8), ("dev-1a", "/b", 7), ("dev-1a/b", "", 7)],
)
def test_it_opens_only_in_its_own_place(device, topic, seq):
    headers, sealed = sealer(READER).seal("dev-1", "a/b", 7, b"x", 0.0)
    with pytest.raises(AlteredError):
        open_sealed(READER, dict(headers), device, topic, seq, sealed)


def test_records_of_one_content_key_cannot_swap_their_headers_with_another():
    one, other = sealer(READER), sealer(READER)
    _, sealed = one.seal("d", "t", 1, b"x", 0.0)
    headers, _ = other.seal("d", "t", 1, b"x", 0.0)
    with pytest.raises(AlteredError):
        open_sealed(READER, dict(headers), "d", "t", 1, sealed)


def test_others_cannot_open_it_and_the_error_names_the_keys_that_can():
    headers, sealed = sealer(READER).seal("d", "t", 1, b"secret", 0.0)
    with pytest.raises(NotARecipientError, match=READER.public.id.hex()):
        open_sealed(STRANGER, dict(headers), "d", "t", 1, sealed)


def test_a_recipient_cannot_be_added_or_taken_away_unnoticed():
    headers, sealed = sealer(READER, SECOND).seal("d", "t", 1, b"x", 0.0)
    block = dict(headers)["seal-key"]
    entry = (len(block) - 1) // 2
    with pytest.raises(AlteredError):
        open_sealed(READER, {"seal": b"1", "seal-key": b"\x01" + block[1 : 1 + entry]}, "d", "t", 1, sealed)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "not sealed"),
        ({"seal": b"3", "seal-key": b"\x00"}, "format"),
        ({"seal": b"1"}, "no seal-key"),
        ({"seal": b"1", "seal-key": b""}, "empty"),
        ({"seal": b"1", "seal-key": b"\x01abc"}, "cut short"),
        ({"seal": b"1", "seal-key": b"\x00abc"}, "follows"),
        ({"seal": b"1", "seal-key": b"\x00"}, "other keys"),
    ],
)
def test_what_is_not_of_this_format_says_so(headers, reason):
    with pytest.raises(SealError, match=reason):
        open_sealed(READER, headers, "d", "t", 1, bytes(20))


@given(st.binary(max_size=200))
def test_any_key_block_is_parsed_or_refused(block):
    try:
        entries = parse_key_block(block)
    except SealError:
        return
    assert len(entries) <= block[0]


def test_too_short_a_payload_is_altered():
    headers, sealed = sealer(READER).seal("d", "t", 1, b"", 0.0)
    assert open_sealed(READER, dict(headers), "d", "t", 1, sealed) == b""
    with pytest.raises(AlteredError, match="19 bytes"):
        open_sealed(READER, dict(headers), "d", "t", 1, sealed[:-1])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 3)), min_size=1, max_size=80),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_no_nonce_is_ever_used_twice_under_one_key(messages, count_max, streams_max):
    sealing = sealer(READER, key_max_messages=count_max, key_max_age=5.0, streams_max=streams_max)
    seen: set[tuple[bytes, bytes]] = set()
    now = 0.0
    for seq, (device, pause) in enumerate(messages):
        now += pause
        headers, sealed = sealing.seal(device, "t", seq, b"x", now)
        seen.add((headers[1][1], sealed[:4]))
        assert open_sealed(READER, dict(headers), device, "t", seq, sealed) == b"x"
    assert len(seen) == len(messages)


def keys_of(sealing: Sealer, times: list[float], device: str = "d") -> Iterator[object]:
    return (sealing.seal(device, "t", 1, b"x", now)[0] for now in times)


def test_the_headers_are_the_very_same_while_the_key_lives():
    first, second = keys_of(sealer(READER), [0.0, 1.0])
    assert first is second


def test_a_key_ends_by_count():
    assert len({id(headers) for headers in list(keys_of(sealer(READER, key_max_messages=2), [0.0] * 6))}) == 3


def test_a_key_ends_by_age():
    young, old, new = keys_of(sealer(READER, key_max_age=10.0), [0.0, 9.9, 10.0])
    assert young is old
    assert new is not old


def test_the_least_recently_used_stream_goes_first():
    sealing = sealer(READER, streams_max=2)
    first = {device: sealing.seal(device, "t", 1, b"", 0.0)[0] for device in "ab"}
    sealing.seal("a", "t", 2, b"", 0.0)
    sealing.seal("c", "t", 3, b"", 0.0)
    assert sealing.seal("a", "t", 4, b"", 0.0)[0] is first["a"]
    assert sealing.seal("b", "t", 5, b"", 0.0)[0] is not first["b"]


def test_two_devices_never_share_a_key():
    sealing = sealer(READER)
    assert next(keys_of(sealing, [0.0], "a")) != next(keys_of(sealing, [0.0], "b"))


def test_there_must_be_a_recipient():
    with pytest.raises(ValueError, match="1 to 255"):
        sealer()


def test_an_opener_opens_a_stream_of_many_keys_with_a_small_memory():
    sealing, opener = sealer(READER, POST_QUANTUM, key_max_messages=1), Opener([STRANGER, POST_QUANTUM], 2)
    records = [(seq, *sealing.seal("d", "t", seq, b"%d" % seq, 0.0)) for seq in range(6)]
    for _ in range(2):
        assert [opener.open(dict(headers), "d", "t", seq, sealed) for seq, headers, sealed in records] == [
            b"%d" % seq for seq in range(6)
        ]


@pytest.mark.parametrize("raw", [bytes(32), b"\x01" + bytes(31), b"short"])
def test_what_is_no_public_key_is_refused_when_loaded(raw):
    with pytest.raises(ValueError, match="key"):
        PublicKey(X25519, raw)


def test_a_private_key_does_not_show_itself():
    assert READER.secret.hex() not in repr(READER)
    assert repr(READER.secret) not in repr(READER)
