"""Descriptors as protoc would write them, without protoc."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

FIELD = FieldDescriptorProto


def reading_file() -> FileDescriptorProto:
    """`site.Other { n }`, `site.Reading { device, degrees, at, place; message Place { room } }`."""
    file = FileDescriptorProto(
        name="reading.proto", package="site", syntax="proto3", dependency=["google/protobuf/timestamp.proto"]
    )
    file.message_type.add(name="Other").field.add(name="n", number=1, type=FIELD.TYPE_INT32, label=FIELD.LABEL_OPTIONAL)
    reading = file.message_type.add(name="Reading")
    place = reading.nested_type.add(name="Place")
    place.field.add(name="room", number=1, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
    for number, (name, kind, type_name) in enumerate(
        [
            ("device", FIELD.TYPE_STRING, None),
            ("degrees", FIELD.TYPE_DOUBLE, None),
            ("at", FIELD.TYPE_MESSAGE, ".google.protobuf.Timestamp"),
            ("place", FIELD.TYPE_MESSAGE, ".site.Reading.Place"),
        ],
        1,
    ):
        reading.field.add(name=name, number=number, type=kind, type_name=type_name, label=FIELD.LABEL_OPTIONAL)
    return file


def reading_set() -> bytes:
    """A descriptor set with that file."""
    return FileDescriptorSet(file=[reading_file()]).SerializeToString()


def required_set() -> bytes:
    """`site.Old { required int32 n = 1; }` in proto2."""
    file = FileDescriptorProto(name="old.proto", package="site", syntax="proto2")
    old = file.message_type.add(name="Old")
    old.field.add(name="n", number=1, type=FIELD.TYPE_INT32, label=FIELD.LABEL_REQUIRED)
    return FileDescriptorSet(file=[file]).SerializeToString()
