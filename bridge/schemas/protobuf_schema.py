"""Protobuf messages, by Google's own package: the payload parses as the message, with all its required fields.

A field that the schema does not know is no misfit: that is how protobuf lets devices be newer than their readers. The
package bounds how deeply messages stand in each other (100).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from google.protobuf import any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from bridge.schemas.schema import Misfit, SchemaError

_Parsed = TypeVar("_Parsed", FileDescriptorProto, FileDescriptorSet)


class ProtobufSchema:
    """One message; see `schema.Schema`."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._class = GetMessageClass(descriptor)
        self.indexes = _indexes(descriptor)
        """The message's place in its file, as the Schema Registry's wire format has it."""

    def fit(self, payload: bytes) -> bytes:
        """See `Schema.fit`."""
        message = self._class()
        try:
            message.ParseFromString(payload)
        except DecodeError as error:
            raise Misfit(f"it is no {self._class.DESCRIPTOR.full_name}") from error
        if not message.IsInitialized():
            raise Misfit(f"a required field of {self._class.DESCRIPTOR.full_name} is missing")
        return payload


class ProtobufFile:
    """All messages of one file from the registry."""

    def __init__(self, serialized: bytes) -> None:
        """`serialized`: a FileDescriptorProto. Raises SchemaError."""
        proto = _parsed(FileDescriptorProto(), serialized)
        self._file = _pool([proto]).FindFileByName(proto.name)
        self._schemas: dict[tuple[int, ...], ProtobufSchema] = {}

    def at(self, indexes: Sequence[int]) -> ProtobufSchema | None:
        """The message at this place; None if there is none."""
        place = tuple(indexes)
        found = self._schemas.get(place)
        if found is None and (descriptor := self._descriptor(place)) is not None:
            found = self._schemas[place] = ProtobufSchema(descriptor)
        return found

    def named(self, name: str | None) -> ProtobufSchema:
        """The message with that full name; None: the first one. Raises SchemaError."""
        messages = self._file.message_types_by_name
        if not messages:
            raise SchemaError("it defines no message")
        if name is None:
            return ProtobufSchema(next(iter(messages.values())))
        return ProtobufSchema(_find(self._file.pool, name))

    def _descriptor(self, place: tuple[int, ...]) -> Descriptor | None:
        holder: FileDescriptor | Descriptor = self._file
        for index in place:
            if isinstance(holder, FileDescriptor):
                children = list(holder.message_types_by_name.values())
            else:
                children = list(holder.nested_types)
            if not 0 <= index < len(children):
                return None
            holder = children[index]
        return holder if not isinstance(holder, FileDescriptor) else None


def from_descriptor_set(data: bytes, message: str) -> ProtobufSchema:
    """From what `protoc --include_imports --descriptor_set_out` writes. Raises SchemaError."""
    return ProtobufSchema(_find(_pool(_parsed(FileDescriptorSet(), data).file), message))


def _parsed(into: _Parsed, data: bytes) -> _Parsed:
    try:
        into.ParseFromString(data)
    except DecodeError as error:
        raise SchemaError("it is no protobuf descriptor (protoc --descriptor_set_out writes one)") from error
    return into


def _pool(files: Sequence[FileDescriptorProto]) -> DescriptorPool:
    """With Google's well-known types, which the registry and protoc may leave out."""
    pool = DescriptorPool()
    known = (any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
    given = {file.name for file in files}
    try:
        for module in known:
            if module.DESCRIPTOR.name not in given:
                pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        for file in files:
            pool.AddSerializedFile(file.SerializeToString())
    except TypeError as error:
        raise SchemaError(f"its imports or names do not fit: {error}; protoc --include_imports puts them in") from error
    return pool


def _find(pool: DescriptorPool, name: str) -> Descriptor:
    try:
        return pool.FindMessageTypeByName(name)
    except KeyError as error:
        raise SchemaError(f"it has no message {name!r}") from error


def _indexes(descriptor: Descriptor) -> tuple[int, ...]:
    outer = descriptor.containing_type
    siblings = outer.nested_types if outer is not None else list(descriptor.file.message_types_by_name.values())
    own = [sibling.full_name for sibling in siblings].index(descriptor.full_name)
    return (*_indexes(outer), own) if outer is not None else (own,)
