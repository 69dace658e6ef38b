"""The protobuf message that every Sparkplug B payload is: names and numbers of its fields (Sparkplug 3.0, chapter 6).

Google's package does the parsing; it bounds how deeply messages stand in each other (100). Fields that are not here
(extensions of a vendor's) are left aside.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, Edition, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from bridge.sparkplug.errors import NotSparkplug

_PACKAGE: Final = "busbridge.sparkplug"
_KINDS: Final = {
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}
_SCALARS: Final = ("int_value uint32", "long_value uint64", "float_value float", "double_value double",
                   "boolean_value bool", "string_value string")  # fmt: skip
_MESSAGES: Final[dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]]] = {
    "Payload": (("timestamp uint64", "metrics *Metric", "seq uint64", "uuid string", "body bytes"), 0, ()),
    "Metric": (
        ("name string", "alias uint64", "timestamp uint64", "datatype uint32", "is_historical bool",
         "is_transient bool", "is_null bool", "metadata MetaData", "properties PropertySet"),
        10,
        (*_SCALARS, "bytes_value bytes", "dataset_value DataSet", "template_value Template"),
    ),
    "MetaData": (
        ("is_multi_part bool", "content_type string", "size uint64", "seq uint64", "file_name string",
         "file_type string", "md5 string", "description string"), 0, (),
    ),
    "PropertySet": (("keys *string", "values *PropertyValue"), 0, ()),
    "PropertySetList": (("propertyset *PropertySet",), 0, ()),
    "PropertyValue": (
        ("type uint32", "is_null bool"), 3,
        (*_SCALARS, "propertyset_value PropertySet", "propertysets_value PropertySetList"),
    ),
    "DataSet": (("num_of_columns uint64", "columns *string", "types *uint32", "rows *Row"), 0, ()),
    "Row": (("elements *Cell",), 0, ()),
    "Cell": ((), 1, _SCALARS),
    "Template": (
        ("version string", "metrics *Metric", "parameters *Parameter", "template_ref string", "is_definition bool"),
        0, (),
    ),
    "Parameter": (("name string", "type uint32"), 3, _SCALARS),
}  # fmt: skip
"""By message: its own fields, numbered from 1; the number of the first of `value`'s alternatives; these."""


def _message(name: str) -> DescriptorProto:
    own, first, alternatives = _MESSAGES[name]
    message = DescriptorProto(name=name)
    if alternatives:
        message.oneof_decl.add(name="value")
    for number, words in (*enumerate(own, 1), *enumerate(alternatives, first)):
        field_name, kind = words.split()
        field = message.field.add(name=field_name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
        if kind.startswith("*"):
            field.label = FieldDescriptorProto.LABEL_REPEATED
            kind = kind.removeprefix("*")
        if kind in _KINDS:
            field.type = _KINDS[kind]
        else:
            field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
        if words in alternatives:
            field.oneof_index = 0
    return message


def _payload_class() -> Any:
    # Proto2, in which the schema is written, takes any bytes for a text; this edition is the same but for that.
    file = FileDescriptorProto(
        name="sparkplug.proto", package=_PACKAGE, syntax="editions", edition=Edition.EDITION_2023
    )
    file.message_type.extend(_message(name) for name in _MESSAGES)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Payload"))


Payload: Final[Any] = _payload_class()
"""The class of payloads."""


def parse(data: bytes) -> Any:
    """A `Payload`.

    Raises:
        NotSparkplug: these bytes are none.
    """
    payload = Payload()
    try:
        payload.ParseFromString(data)
    except DecodeError as error:
        raise NotSparkplug("it is no Sparkplug B payload") from error
    return payload
