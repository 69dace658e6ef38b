"""The record's format: what goes in comes out, and what is no record is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.log import record
from bridge.log.record import Record, RecordError

BOOT = b"b" * 16
I64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(max_size=50)
RECORDS = st.builds(
    Record,
    seq=st.integers(1, 2**63),
    kind=st.integers(0, 255),
    flags=st.integers(0, 255),
    packet_id=st.integers(0, 65535),
    wall_ns=I64,
    mono_ns=I64,
    boot=st.just(BOOT),
    context=st.binary(max_size=100),
    headers=st.binary(max_size=100),
    payload=st.binary(max_size=300),
)


def encoded(one: Record) -> bytes:
    return record.encode(
        one.kind, one.flags, one.packet_id, one.wall_ns, one.mono_ns, one.context, one.headers, one.payload
    )


@given(RECORDS)
def test_a_record_comes_back_as_it_was(one: Record) -> None:
    assert record.decode(encoded(one), one.seq, BOOT) == one


@given(st.lists(RECORDS, min_size=1, max_size=20), st.integers(0, 25), st.integers(1, 3000))
def test_many_stop_at_either_limit(records: list[Record], max_records: int, max_bytes: int) -> None:
    data = b"".join(map(encoded, records))
    taken: list[Record] = []
    at = record.decode_many(data, 0, len(data), 5, BOOT, max_records, max_bytes, taken)
    assert [each.payload for each in taken] == [each.payload for each in records[: len(taken)]]
    assert [each.seq for each in taken] == list(range(5, 5 + len(taken)))
    assert at == sum(len(encoded(each)) for each in records[: len(taken)])
    assert len(taken) <= max_records
    assert len(taken) == min(max_records, len(records)) or at >= max_bytes


@given(RECORDS, st.data())
def test_a_record_cut_short_is_refused(one: Record, data: st.DataObject) -> None:
    whole = encoded(one)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(RecordError):
        record.decode(whole[:cut], 1, BOOT)


def test_two_records_are_not_one() -> None:
    one = record.encode(1, 0, 0, 0, 0, b"", b"", b"x")
    with pytest.raises(RecordError):
        record.decode(one + one, 1, BOOT)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_a_record_error(data: bytes) -> None:
    try:
        known = record.decode(data, 1, BOOT)
    except RecordError:
        known = None
    assert known is None or encoded(known) == data


@given(NAMES, NAMES, NAMES)
def test_a_context_comes_back(device: str, topic: str, target: str) -> None:
    context = record.encode_context(device, topic, target)
    assert record.decode_context(context) == (device, topic, target)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=50))))
def test_headers_come_back_in_order(pairs: list[tuple[str, bytes]]) -> None:
    assert record.decode_headers(record.encode_headers(pairs)) == tuple(pairs)


@given(st.binary(max_size=60))
def test_any_bytes_are_headers_or_a_record_error(data: bytes) -> None:
    try:
        known = record.decode_headers(data)
    except RecordError:
        known = None
    assert known is None or record.encode_headers(known) == data


@given(st.binary(max_size=60))
def test_any_bytes_are_a_context_or_a_record_error(data: bytes) -> None:
    try:
        known = record.decode_context(data)
    except RecordError:
        known = None
    assert known is None or record.encode_context(*known) == data


@pytest.mark.parametrize("size", [65_536, 70_000])
def test_what_is_too_long_for_its_length_is_refused(size: int) -> None:
    with pytest.raises(RecordError):
        record.encode_context("d", "t" * size)
    with pytest.raises(RecordError):
        record.encode_headers([("key", b"v" * size)])
    with pytest.raises(RecordError):
        record.encode_headers([("a", b"v" * (size // 2)), ("b", b"v" * (size // 2))])


def test_qos_is_two_bits_of_the_flags() -> None:
    one = record.decode(
        record.encode(1, 2 | record.RETAIN | record.CLOCK_SYNCHRONISED, 9, 0, 0, b"", b"", b""), 1, BOOT
    )
    assert one.qos == 2
    assert one.flags & record.RETAIN
    assert not one.flags & record.DUP
