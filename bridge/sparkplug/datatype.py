"""Sparkplug's data types and the values they have in JSON (Sparkplug 3.0, chapter 6, "Data Types").

Integers of every width are numbers, bytes are base64, times are milliseconds since 1970, and what JSON has no number
for is a word, as in protobuf's own JSON: "NaN", "Infinity", "-Infinity".
"""

from __future__ import annotations

import math
import struct
from base64 import b64encode
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final

from bridge.sparkplug.errors import NotSparkplug


class DataType(IntEnum):
    """By the specification's numbers and names."""

    Unknown = 0
    Int8 = 1
    Int16 = 2
    Int32 = 3
    Int64 = 4
    UInt8 = 5
    UInt16 = 6
    UInt32 = 7
    UInt64 = 8
    Float = 9
    Double = 10
    Boolean = 11
    String = 12
    DateTime = 13
    Text = 14
    UUID = 15
    DataSet = 16
    Bytes = 17
    File = 18
    Template = 19
    PropertySet = 20
    PropertySetList = 21
    Int8Array = 22
    Int16Array = 23
    Int32Array = 24
    Int64Array = 25
    UInt8Array = 26
    UInt16Array = 27
    UInt32Array = 28
    UInt64Array = 29
    FloatArray = 30
    DoubleArray = 31
    BooleanArray = 32
    StringArray = 33
    DateTimeArray = 34


_T = DataType
_SIGNED: Final = {_T.Int8: 8, _T.Int16: 16, _T.Int32: 32, _T.Int64: 64}
_UNSIGNED: Final = {_T.UInt8: 8, _T.UInt16: 16, _T.UInt32: 32, _T.UInt64: 64, _T.DateTime: 64}
_ARRAYS: Final = {
    _T.Int8Array: "b", _T.Int16Array: "h", _T.Int32Array: "i", _T.Int64Array: "q",
    _T.UInt8Array: "B", _T.UInt16Array: "H", _T.UInt32Array: "I", _T.UInt64Array: "Q",
    _T.FloatArray: "f", _T.DoubleArray: "d", _T.DateTimeArray: "Q",
}  # fmt: skip
"""Packed little-endian, with nothing before them."""
_WHOLE, _REAL = ("int_value", "long_value"), ("float_value", "double_value")
_TEXT, _BYTES = ("string_value",), ("bytes_value",)
_FLOAT = struct.Struct("<f")
_COUNT = struct.Struct("<I")
Spend = Callable[[int], None]
"""Takes how many values come; raises NotSparkplug where that is too many."""


def name_of(datatype: int) -> str | int:
    """As the specification calls it; the number where it calls it nothing."""
    return _T(datatype).name if 0 < datatype < len(_T) else datatype


def value_of(datatype: int, field: str, raw: Any, spend: Spend) -> Any:
    """The JSON value of a `raw` scalar or of bytes, found in the protobuf field `field`.

    Integers may stand in the narrow or the wide field, whatever their type, and so may floats: implementations differ.
    Where the type is unknown (0, or none of the specification's) it is what the field says.

    Raises:
        NotSparkplug: it is no value of the type.
    """
    if datatype in _SIGNED and field in _WHOLE:
        return _signed(raw, _SIGNED[_T(datatype)])
    if datatype in _UNSIGNED and field in _WHOLE:
        if raw >> _UNSIGNED[_T(datatype)]:
            raise NotSparkplug(f"a number is none of its type, {name_of(datatype)}")
        return raw
    if datatype in (_T.Float, _T.Double) and field in _REAL:
        return real(raw, single=field == "float_value")
    if datatype == _T.Boolean and field == "boolean_value":
        return raw
    if datatype in (_T.String, _T.Text, _T.UUID) and field in _TEXT:
        return raw
    if datatype in (_T.Bytes, _T.File) and field in _BYTES:
        return b64encode(raw).decode()
    if datatype in _ARRAYS and field in _BYTES:
        return _array(_ARRAYS[_T(datatype)], raw, spend)
    if datatype == _T.BooleanArray and field in _BYTES:
        return _booleans(raw, spend)
    if datatype == _T.StringArray and field in _BYTES:
        return _strings(raw, spend)
    if 0 < datatype < len(_T):
        raise NotSparkplug(f"a value of the type {name_of(datatype)} stands in {field}")
    return untyped(field, raw)


def untyped(field: str, raw: Any) -> Any:
    """The JSON value where nothing says the type: integers as they stand there, so without a sign."""
    if field in _REAL:
        return real(raw, single=field == "float_value")
    return b64encode(raw).decode() if field in _BYTES else raw


def real(value: float, *, single: bool) -> float | str:
    """A float as JSON has it: of `single` precision the shortest number that is the same one (12.1, not
    12.100000381469727)."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if not single:
        return value
    for digits in (7, 8):
        short = float(f"{value:.{digits}g}")
        if _FLOAT.unpack(_FLOAT.pack(short))[0] == value:
            return short
    return float(f"{value:.9g}")


def _signed(raw: int, bits: int) -> int:
    """Two's complement, in the type's own width or extended to that of the field (32 or 64 bits): both are in use."""
    half = 1 << (bits - 1)
    if raw < half:
        return raw
    for width in (bits, 32, 64):
        if (1 << width) - half <= raw < 1 << width:
            return raw - (1 << width)
    raise NotSparkplug(f"a number is none of its type, Int{bits}")


def _array(code: str, raw: bytes, spend: Spend) -> list[Any]:
    size = struct.calcsize(f"<{code}")
    count, rest = divmod(len(raw), size)
    if rest:
        raise NotSparkplug(f"an array of {size}-byte values has {len(raw)} bytes")
    spend(count)
    values = struct.unpack(f"<{count}{code}", raw)
    return [real(each, single=code == "f") for each in values] if code in "fd" else list(values)


def _booleans(raw: bytes, spend: Spend) -> list[bool]:
    """How many there are, in four bytes; then one bit each, the highest of a byte first."""
    count = _COUNT.unpack_from(raw)[0] if len(raw) >= _COUNT.size else -1
    if len(raw) - _COUNT.size != (count + 7) // 8:
        raise NotSparkplug("an array of booleans is not as long as it says")
    spend(count)
    bits = int.from_bytes(raw[_COUNT.size :], "big")
    last = 8 * (len(raw) - _COUNT.size) - 1
    return [bool(bits >> (last - index) & 1) for index in range(count)]


def _strings(raw: bytes, spend: Spend) -> list[str]:
    """Each ends with a null."""
    if raw and raw[-1]:
        raise NotSparkplug("the last text of an array does not end")
    parts = raw.split(b"\0")[:-1]
    spend(len(parts))
    try:
        return [part.decode() for part in parts]
    except UnicodeDecodeError as error:
        raise NotSparkplug("a text of an array is not UTF-8") from error
