"""Metrics in JSON: named, with their types' own values. docs/sparkplug.md describes the form."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final

import msgspec

from bridge.sparkplug.datatype import DataType, name_of, untyped, value_of
from bridge.sparkplug.errors import NotSparkplug
from bridge.sparkplug.names import Names

Json = dict[str, Any]

_PLAIN_METADATA: Final = ("content_type", "size", "seq", "file_name", "file_type", "md5", "description")


class Bounds(msgspec.Struct, frozen=True):
    """What one payload may hold."""

    values_max: int
    """Metrics, properties, parameters, cells of data sets, elements of arrays, all together."""
    nesting_max: int
    """Templates and property sets within each other."""


class Decoded(msgspec.Struct):
    """The metrics of one payload."""

    metrics: list[Json]
    strangers: int = 0
    """How many are not in the birth, by name or alias."""


def decode(metrics: Any, names: Names | None, bounds: Bounds) -> Decoded:
    """The JSON form of a payload's metrics; what only an alias names is looked up in `names`.

    Raises:
        NotSparkplug: a value is not of its type, or there are too many, or they are nested too deeply.
    """
    walk = _Walk(names, bounds)
    found = walk.metrics(metrics, bounds.nesting_max)
    return Decoded(found, walk.strangers)


class _Walk:
    """Through one payload."""

    def __init__(self, names: Names | None, bounds: Bounds) -> None:
        self.strangers = 0
        self._aliases = names.by_alias if names is not None else {}
        self._types = names.by_name if names is not None else {}
        self._left = self._max = bounds.values_max
        self._inside = 0
        """Templates around what is being read."""

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise NotSparkplug(f"it has more than {self._max} values")

    def metrics(self, metrics: Any, depth: int) -> list[Json]:
        self.spend(len(metrics))
        return [self._metric(metric, depth) for metric in metrics]

    def _metric(self, metric: Any, depth: int) -> Json:
        has = metric.HasField
        found: Json = {}
        datatype = metric.datatype
        name = metric.name if has("name") else None
        if has("alias"):
            known = self._aliases.get(metric.alias)
            if name is None and known is not None:
                name = known[0]
                datatype = datatype or known[1]
        if name is not None:
            found["name"] = name
            datatype = datatype or self._types.get(name, 0)
        if name not in self._types and not self._inside:
            self.strangers += 1
        if has("alias"):
            found["alias"] = metric.alias
        if datatype:
            found["type"] = name_of(datatype)
        if has("timestamp"):
            found["timestamp"] = metric.timestamp
        field = None if metric.is_null else metric.WhichOneof("value")
        found["value"] = None if field is None else self._value(datatype, field, getattr(metric, field), depth)
        if metric.is_historical:
            found["historical"] = True
        if metric.is_transient:
            found["transient"] = True
        if has("metadata"):
            found["metadata"] = _metadata(metric.metadata)
        if has("properties"):
            found["properties"] = self._properties(metric.properties, depth)
        return found

    def _value(self, datatype: int, field: str, raw: Any, depth: int) -> Any:
        if field == "dataset_value":
            return self._data_set(_of(datatype, DataType.DataSet, raw))
        if field == "template_value":
            return self._template(_of(datatype, DataType.Template, raw), depth)
        if field == "propertyset_value":
            return self._properties(_of(datatype, DataType.PropertySet, raw), depth)
        if field == "propertysets_value":
            sets = _of(datatype, DataType.PropertySetList, raw).propertyset
            self.spend(len(sets))
            return [self._properties(each, depth) for each in sets]
        return value_of(datatype, field, raw, self.spend) if datatype else untyped(field, raw)

    def _data_set(self, data: Any) -> Json:
        columns, types = list(data.columns), list(data.types)
        if len(columns) != len(types) or (data.HasField("num_of_columns") and data.num_of_columns != len(columns)):
            raise NotSparkplug("a data set has not as many columns as it says")
        self.spend(len(columns))
        rows = []
        for row in data.rows:
            if len(row.elements) != len(columns):
                raise NotSparkplug("a row of a data set has another number of cells than there are columns")
            self.spend(len(columns) or 1)
            rows.append([self._scalar(kind, cell) for kind, cell in zip(types, row.elements, strict=True)])
        return {"columns": columns, "types": [name_of(kind) for kind in types], "rows": rows}

    def _scalar(self, datatype: int, holder: Any) -> Any:
        field = holder.WhichOneof("value")
        return None if field is None else self._value(datatype, field, getattr(holder, field), 0)

    def _template(self, template: Any, depth: int) -> Json:
        found: Json = {"definition": template.is_definition}
        if template.HasField("template_ref"):
            found["reference"] = template.template_ref
        if template.HasField("version"):
            found["version"] = template.version
        if template.parameters:
            self.spend(len(template.parameters))
            found["parameters"] = [self._parameter(each) for each in template.parameters]
        found["metrics"] = self._within(template.metrics, depth)
        return found

    def _within(self, metrics: Any, depth: int) -> list[Json]:
        """The members of a template; their names are their own, and so are their aliases, if they have any."""
        names = self._aliases, self._types
        self._aliases, self._types = {}, {}
        self._inside += 1
        found = self.metrics(metrics, _deeper(depth))
        self._inside -= 1
        self._aliases, self._types = names
        return found

    def _parameter(self, parameter: Any) -> Json:
        found: Json = {"name": parameter.name}
        if parameter.type:
            found["type"] = name_of(parameter.type)
        found["value"] = self._scalar(parameter.type, parameter)
        return found

    def _properties(self, properties: Any, depth: int) -> Json:
        keys, values = properties.keys, properties.values
        if len(keys) != len(values):
            raise NotSparkplug("a property set has not as many values as keys")
        self.spend(len(keys))
        found: Json = {}
        for key, value in zip(keys, values, strict=True):
            if key in found:
                raise NotSparkplug("a property set has one key twice")
            field = None if value.is_null else value.WhichOneof("value")
            inner: Json = {"type": name_of(value.type)} if value.type else {}
            inner["value"] = (
                None if field is None else self._value(value.type, field, getattr(value, field), _deeper(depth))
            )
            found[key] = inner
        return found


def _of(datatype: int, wanted: DataType, raw: Any) -> Any:
    if 0 < datatype < len(DataType) and datatype != wanted:
        raise NotSparkplug(f"a value of the type {name_of(datatype)} is a {wanted.name}")
    return raw


def _deeper(depth: int) -> int:
    if depth <= 0:
        raise NotSparkplug("templates or property sets are nested too deeply")
    return depth - 1


def _metadata(metadata: Any) -> Json:
    found = {name: getattr(metadata, name) for name in _PLAIN_METADATA if metadata.HasField(name)}
    if metadata.is_multi_part:
        found["multi_part"] = True
    return found


def body(payload: Any) -> Json:
    """The parts of a payload beside its metrics that have no form of their own."""
    found: Json = {}
    if payload.HasField("uuid"):
        found["uuid"] = payload.uuid
    if payload.HasField("body"):
        found["body"] = b64encode(payload.body).decode()
    return found
