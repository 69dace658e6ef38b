"""Names: what the metrics of a birth are called, so that data which has their aliases only can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from bridge.sparkplug.errors import NotSparkplug

Entry = tuple[str, int]
"""Name and data type."""


class _Stored(msgspec.Struct, frozen=True):
    """As it is kept on disk."""

    born: int
    metrics: list[tuple[str, int, int | None]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode


class Names:
    """Of one birth: an edge node's own metrics, or those of one device behind it."""

    __slots__ = ("born", "by_alias", "by_name")

    def __init__(self, metrics: Iterable[tuple[str, int, int | None]], *, born: int) -> None:
        """Args:
        metrics: name, data type, and alias if it has one, of each.
        born: the birth's timestamp, ms since 1970; 0: it had none.

        Raises:
            NotSparkplug: two of them have one name or alias.
        """
        self.born = born
        self.by_name: dict[str, int] = {}
        """Name → data type."""
        self.by_alias: dict[int, Entry] = {}
        for name, datatype, alias in metrics:
            if name in self.by_name:
                raise NotSparkplug("two metrics of a birth have the same name")
            self.by_name[name] = datatype
            if alias is None:
                continue
            if alias in self.by_alias:
                raise NotSparkplug("two metrics of a birth have the same alias")
            self.by_alias[alias] = (name, datatype)

    def __len__(self) -> int:
        """How many metrics."""
        return len(self.by_name)

    def __eq__(self, other: object) -> bool:
        """Whether data reads the same by both."""
        if not isinstance(other, Names):
            return NotImplemented
        return (self.by_name, self.by_alias) == (other.by_name, other.by_alias)

    def share(self, other: Names) -> None:
        """Both are equal: from now on what they hold is in memory once."""
        self.by_name, self.by_alias = other.by_name, other.by_alias

    def encode(self) -> bytes:
        """To be kept."""
        return _encode(_Stored(self.born, list(self._metrics())))

    @classmethod
    def decode(cls, data: bytes) -> Names:
        """What `encode` gave. Raises msgspec.DecodeError."""
        stored = _decode(data)
        return cls(stored.metrics, born=stored.born)

    def _metrics(self) -> Iterator[tuple[str, int, int | None]]:
        aliases = {name: alias for alias, (name, _) in self.by_alias.items()}
        for name, datatype in self.by_name.items():
            yield name, datatype, aliases.get(name)


def names_of_birth(payload: Any, *, metrics_max: int, name_max_bytes: int) -> Names:
    """The names that a birth gives (`payload`: a `wire.Payload`).

    Raises:
        NotSparkplug: a metric has none, or too long a one, or there are too many.
    """
    if len(payload.metrics) > metrics_max:
        raise NotSparkplug(f"it has more metrics than the {max(metrics_max, 0)} that its edge node may still have")
    found = []
    for index, metric in enumerate(payload.metrics):
        name = metric.name
        if not name:
            raise NotSparkplug(f"metric {index} of a birth has no name")
        if len(name.encode()) > name_max_bytes:
            raise NotSparkplug(f"the name of metric {index} has more than {name_max_bytes} bytes")
        found.append((name, metric.datatype, metric.alias if metric.HasField("alias") else None))
    return Names(found, born=payload.timestamp)
