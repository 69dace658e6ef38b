"""Our batches against aiokafka's own reader and its own builder."""

from __future__ import annotations

import pytest
from aiokafka import codec
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from bridge.bus_side.record_batch import RecordBatch, encode_stream, varint

HEADERS = st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=200)), max_size=5)
RECORDS = st.lists(
    st.tuples(
        st.binary(max_size=300), HEADERS, st.booleans(), st.booleans(),
        st.integers(0, 2**63), st.binary(max_size=300), st.integers(0, 2**42),
    ),
    min_size=1, max_size=20,
)  # fmt: skip


def read(data):
    batch = DefaultRecordBatch(data)
    assert batch.validate_crc()
    return [(each.offset, each.timestamp, each.key, each.value, each.headers) for each in batch]


@given(RECORDS, st.booleans())
def test_reads_back_as_written(records, compressed):
    batch = (
        RecordBatch(1 << 20, 4, codec.zstd_encode, transactional=True)
        if compressed
        else RecordBatch(1 << 20, 0, None, transactional=True)
    )
    expected = []
    for offset, (key, headers, numbered, tombstone, seq, value, ms) in enumerate(records):
        stream = encode_stream(key, headers, numbered=numbered, tombstone=tombstone)
        assert batch.append(stream, seq, value, ms)
        own = [*headers, ("seq", b"%d" % seq)] if numbered else headers
        expected.append((offset, ms, key or None, None if tombstone else value, own))
    assert read(batch.encode()) == expected


def test_is_byte_for_byte_what_aiokafka_builds():
    ours = RecordBatch(1 << 20, 0, None, transactional=True)
    ours._set_producer_state(4711, 3, 99)
    theirs = DefaultRecordBatchBuilder(
        2, 0, is_transactional=1, producer_id=4711, producer_epoch=3, base_sequence=99, batch_size=1 << 20
    )
    stream = encode_stream(b"dev-1", [("mqtt-qos", b"1")], numbered=True, tombstone=False)
    for number in range(300):
        value = b"v" * (number * 7)
        assert ours.append(stream, number, value, 1_700_000_000_000 + number * number)
        headers = [("mqtt-qos", b"1"), ("seq", b"%d" % number)]
        theirs.append(number, timestamp=1_700_000_000_000 + number * number, key=b"dev-1", value=value, headers=headers)
    assert ours.encode() == bytes(theirs.build())


def test_is_full_at_its_bound_but_takes_one_record_of_any_size():
    batch = RecordBatch(100, 0, None, transactional=False)
    stream = encode_stream(b"k", [], numbered=False, tombstone=False)
    assert batch.append(stream, 1, b"x" * 5000, 0)
    assert not batch.append(stream, 2, b"", 0)
    assert batch.record_count() == 1
    assert len(read(batch.encode())) == 1


@pytest.mark.parametrize(("value", "encoded"), [(0, b"\0"), (-1, b"\1"), (1, b"\2"), (63, b"\x7e"), (64, b"\x80\1")])
def test_varint(value, encoded):
    assert varint(value) == encoded
