"""Header and frame: found where they are whole, under their own identity only."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.log.segment import (
    ALIGN,
    HEADER_BYTES,
    PAGE_BYTES,
    Header,
    decode_frame,
    decode_header,
    encode_frame,
    find_frame,
    list_segments,
    segment_name,
)

HEADER = Header(segment_bytes=1 << 20, log_id=b"i" * 16, first_seq=77, created_ns=1_234, salt=99)
BOOT = b"b" * 16


def frame(first_seq: int, records: list[bytes], seed: int = HEADER.seed) -> bytes:
    return b"".join(encode_frame(seed, first_seq, len(records), BOOT, records))


def test_a_header_comes_back() -> None:
    page = HEADER.encode()
    assert len(page) == PAGE_BYTES
    assert decode_header(page) == HEADER
    assert decode_header(page + b"more") == HEADER


@pytest.mark.parametrize("at", range(HEADER_BYTES))
def test_a_header_with_a_wrong_bit_is_none(at: int) -> None:
    page = bytearray(HEADER.encode())
    page[at] ^= 0x10
    assert decode_header(bytes(page)) is None
    assert decode_header(HEADER.encode()[:at]) is None


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=9), st.integers(1, 2**60))
def test_a_frame_comes_back(records: list[bytes], first_seq: int) -> None:
    data = frame(first_seq, records)
    assert len(data) % ALIGN == 0
    found = decode_frame(b"before.." + data, 8, HEADER.seed, first_seq)
    assert found is not None
    assert (found.first_seq, found.count, found.boot) == (first_seq, len(records), BOOT)
    assert (found.next_at, found.next_seq) == (8 + len(data), first_seq + len(records))
    assert (b"before.." + data)[found.records_at : found.end] == b"".join(records)


@given(st.data())
def test_a_frame_with_any_wrong_bit_is_none(data: st.DataObject) -> None:
    good = frame(5, [b"hello", b"world!"])
    size = len(good.rstrip(b"\0"))
    bad = bytearray(good)
    bad[data.draw(st.integers(0, size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert decode_frame(bytes(bad), 0, HEADER.seed, 5) is None


@pytest.mark.parametrize("other", [{"log_id": b"j" * 16}, {"first_seq": 78}, {"created_ns": 1_235}, {"salt": 98}])
def test_a_frame_of_another_life_of_the_file_is_none(other: dict[str, int]) -> None:
    fields = {"segment_bytes": 1 << 20, "log_id": b"i" * 16, "first_seq": 77, "created_ns": 1_234, "salt": 99}
    seed = Header(**{**fields, **other}).seed  # type: ignore[arg-type]
    assert decode_frame(frame(77, [b"x"], seed), 0, HEADER.seed, 77) is None


def test_a_frame_of_another_number_or_cut_short_is_none() -> None:
    data = frame(5, [b"x" * 20])
    assert decode_frame(data, 0, HEADER.seed, 6) is None
    assert all(decode_frame(data[:cut], 0, HEADER.seed, 5) is None for cut in range(60))
    assert decode_frame(bytes(100), 0, 0, 0) is None


@given(st.binary(max_size=300), st.integers(1, 40))
def test_the_next_good_frame_is_found_behind_rubbish(rubbish: bytes, seq: int) -> None:
    rubbish += bytes(-len(rubbish) % ALIGN)
    data = rubbish + frame(40, [b"a", b"b"]) + frame(42, [b"c"])
    found = find_frame(data, 0, HEADER.seed, seq)
    assert found is not None
    assert (found.at, found.first_seq) == (len(rubbish), 40)
    behind = find_frame(data, 0, HEADER.seed, 41)
    assert behind is not None
    assert behind.first_seq == 42
    assert find_frame(data, 0, HEADER.seed, 43) is None
    assert find_frame(data, len(data), HEADER.seed, 1) is None


def test_segments_are_listed_in_order_and_nothing_else(tmp_path: Path) -> None:
    directory = tmp_path
    for name in (segment_name(1000), segment_name(9), "cursor", "spare-0000000001", "9.seg", "x" * 20 + ".seg"):
        (directory / name).touch()
    assert list_segments(directory) == [(9, directory / segment_name(9)), (1000, directory / segment_name(1000))]
