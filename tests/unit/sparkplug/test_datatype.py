"""Values of every type: the specification's examples, what implementations write, and what is none."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sparkplug.datatype import DataType, name_of, real, untyped, value_of
from bridge.sparkplug.errors import NotSparkplug

SIGNED = {DataType.Int8: 8, DataType.Int16: 16, DataType.Int32: 32, DataType.Int64: 64}
UNSIGNED = {DataType.UInt8: 8, DataType.UInt16: 16, DataType.UInt32: 32, DataType.UInt64: 64, DataType.DateTime: 64}
PACKED = {
    DataType.Int8Array: "b", DataType.Int16Array: "h", DataType.Int32Array: "i", DataType.Int64Array: "q",
    DataType.UInt8Array: "B", DataType.UInt16Array: "H", DataType.UInt32Array: "I", DataType.UInt64Array: "Q",
    DataType.DateTimeArray: "Q",
}  # fmt: skip


def free(_count):
    """Nothing is counted."""


def read(datatype, field, raw, spend=free):
    return value_of(datatype, field, raw, spend)


@pytest.mark.parametrize("datatype", SIGNED, ids=lambda each: each.name)
@pytest.mark.parametrize("width", [None, 32, 64], ids=["own", "32", "64"])
@given(data=st.data())
def test_negative_numbers_in_their_own_width_or_that_of_the_field(datatype, width, data):
    bits = SIGNED[datatype]
    width = max(bits, width or bits)
    value = data.draw(st.integers(-(1 << bits - 1), (1 << bits - 1) - 1))
    field = "long_value" if width == 64 else "int_value"
    assert read(datatype, field, value % (1 << width)) == value


@pytest.mark.parametrize("datatype", UNSIGNED, ids=lambda each: each.name)
@given(data=st.data())
def test_numbers_without_a_sign(datatype, data):
    value = data.draw(st.integers(0, (1 << UNSIGNED[datatype]) - 1))
    assert read(datatype, "long_value", value) == value


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [
        (DataType.Int8, 256), (DataType.Int8, 0xFFFFFF7F), (DataType.Int8, 128 + 256), (DataType.Int16, 65536),
        (DataType.Int32, 1 << 32), (DataType.Int32, (1 << 64) - (1 << 31) - 1), (DataType.UInt8, 256),
        (DataType.UInt16, 65536), (DataType.UInt32, 1 << 32),
    ],
    ids=str,
)  # fmt: skip
def test_a_number_that_is_none_of_its_type(datatype, raw):
    with pytest.raises(NotSparkplug, match=datatype.name):
        read(datatype, "long_value", raw)


@given(st.floats(width=32))
def test_the_shortest_number_that_is_the_same_single(value):
    short = real(value, single=True)
    if math.isfinite(value):
        assert struct.unpack("<f", struct.pack("<f", short))[0] == value
        assert len(repr(short)) <= len(repr(value))
    else:
        assert float(short) == value or math.isnan(value)


def test_floats():
    assert read(DataType.Float, "float_value", struct.unpack("<f", struct.pack("<f", 12.1))[0]) == 12.1
    assert read(DataType.Double, "double_value", 0.1 + 0.2) == 0.1 + 0.2
    assert read(DataType.Double, "double_value", math.inf) == "Infinity"
    assert read(DataType.Double, "double_value", -math.inf) == "-Infinity"
    assert read(DataType.Float, "float_value", math.nan) == "NaN"
    assert read(DataType.Float, "float_value", 3.4028234663852886e38) == 3.4028235e38
    assert read(DataType.Float, "double_value", 0.1) == 0.1


def test_texts_bytes_and_truth():
    assert read(DataType.Boolean, "boolean_value", False) is False
    for datatype in (DataType.String, DataType.Text, DataType.UUID):
        assert read(datatype, "string_value", "äöü") == "äöü"
    for datatype in (DataType.Bytes, DataType.File):
        assert read(datatype, "bytes_value", b"\x00\xff") == "AP8="


@pytest.mark.parametrize(
    ("datatype", "raw", "value"),
    [
        (DataType.UInt64Array, "3400000000000000D99E02D1B27637E4", [52, 16444743074749521625]),
        (DataType.BooleanArray, "0C00000034D0", [c == "1" for c in "001101001101"]),
        (DataType.StringArray, "4142430068656c6c6f00", ["ABC", "hello"]),
        (DataType.Int8Array, "EF7B", [-17, 123]),
        (DataType.BooleanArray, "00000000", []),
        (DataType.StringArray, "", []),
        (DataType.StringArray, "0000", ["", ""]),
        (DataType.FloatArray, "A4709D3F0000C07F", [1.23, "NaN"]),
        (DataType.DoubleArray, "333333333333F33F", [1.2]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_arrays_as_the_specification_packs_them(datatype, raw, value):
    assert read(datatype, "bytes_value", bytes.fromhex(raw)) == value


@pytest.mark.parametrize("datatype", PACKED, ids=lambda each: each.name)
@given(data=st.data())
def test_arrays_of_numbers(datatype, data):
    code = PACKED[datatype]
    bits = 8 * struct.calcsize(f"<{code}")
    low, high = (0, 1 << bits) if code.isupper() else (-(1 << bits - 1), 1 << bits - 1)
    values = data.draw(st.lists(st.integers(low, high - 1)))
    assert read(datatype, "bytes_value", struct.pack(f"<{len(values)}{code}", *values)) == values


@given(st.lists(st.booleans()))
def test_arrays_of_booleans(values):
    bits = "".join("01"[value] for value in values)
    bits += "0" * (-len(bits) % 8)
    packed = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    assert read(DataType.BooleanArray, "bytes_value", struct.pack("<I", len(values)) + packed) == values


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [
        (DataType.Int32Array, b"\0\0\0"), (DataType.BooleanArray, b""), (DataType.BooleanArray, b"\x09\0\0\0\xff"),
        (DataType.BooleanArray, b"\xff\xff\xff\xff\xff"), (DataType.StringArray, b"abc"),
        (DataType.StringArray, b"\xff\0"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_arrays_that_are_none(datatype, raw):
    with pytest.raises(NotSparkplug):
        read(datatype, "bytes_value", raw)


@pytest.mark.parametrize(
    ("datatype", "raw", "count"),
    [
        (DataType.Int16Array, bytes(6), 3), (DataType.StringArray, b"a\0b\0", 2),
        (DataType.BooleanArray, b"\x0b\0\0\0\0\0", 11),
    ],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_elements_of_arrays_are_counted(datatype, raw, count):
    spent = []
    read(datatype, "bytes_value", raw, spent.append)
    assert spent == [count]


@pytest.mark.parametrize(
    ("datatype", "field"),
    [
        (DataType.Boolean, "int_value"), (DataType.Int32, "float_value"), (DataType.String, "bytes_value"),
        (DataType.Bytes, "string_value"), (DataType.DataSet, "string_value"), (DataType.Float, "int_value"),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_in_another_types_field(datatype, field):
    with pytest.raises(NotSparkplug, match=f"{datatype.name} stands in {field}"):
        read(datatype, field, 1)


def test_types_that_nobody_knows_yet():
    assert read(99, "int_value", 7) == 7
    assert read(99, "bytes_value", b"a") == "YQ=="
    assert untyped("float_value", 0.5) == 0.5
    assert (name_of(99), name_of(DataType.UUID)) == (99, "UUID")
