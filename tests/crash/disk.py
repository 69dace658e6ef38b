"""A disk that remembers what was synced: replays recorded calls, and at a power cut keeps any part of the rest.

What a power cut may keep, as POSIX has it: of each file any version of each 512-byte sector since its last sync, and
any of its sizes; of each directory any of the names that were made, changed or removed since its own last sync, whether
or not the file was synced. A sync of a file does not make its name durable.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import NamedTuple

SECTOR = 512
_HEAD = struct.Struct("<cqqq")


class Call(NamedTuple):
    """One entry of the record; what the numbers mean depends on the kind, see record_calls.c."""

    kind: str
    descriptor: int
    offset: int
    data: bytes

    @property
    def paths(self) -> list[Path]:
        return [Path(os.fsdecode(part)) for part in self.data.split(b"\0")]


def calls(record: bytes) -> Iterator[Call]:
    """The entries of a record, in their order."""
    at = 0
    while at < len(record):
        kind, descriptor, offset, length = _HEAD.unpack_from(record, at)
        at += _HEAD.size
        yield Call(kind.decode(), descriptor, offset, record[at : at + length])
        at += length


class File:
    """One file, whatever its names are."""

    def __init__(self, content: bytes = b"") -> None:
        self.durable = bytes(content)
        self.latest = bytearray(content)
        self.sectors: dict[int, list[bytes]] = {}
        """Versions since the last sync, oldest first; the durable one is not among them."""
        self.sizes: list[int] = []

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        self.latest.extend(bytes(max(0, offset - len(self.latest))))
        self.latest[offset:end] = data
        for number in range(offset // SECTOR, -(-end // SECTOR)):
            version = bytes(self.latest[number * SECTOR : (number + 1) * SECTOR])
            self.sectors.setdefault(number, []).append(version)
        self.sizes.append(len(self.latest))

    def truncate(self, size: int = 0) -> None:
        """Cut off there, or filled up with zeros."""
        before = max(len(self.durable), len(self.latest))
        self.latest[size:] = bytes(max(0, size - len(self.latest)))
        self.sizes.append(size)
        for number in range(size // SECTOR, -(-max(before, size) // SECTOR)):
            version = bytes(self.latest[number * SECTOR : (number + 1) * SECTOR])
            self.sectors.setdefault(number, []).append(version)

    def sync(self) -> None:
        if self.sizes:
            self.durable = bytes(self.latest)
            self.sectors.clear()
            self.sizes.clear()

    def after_cut(self, random: Random, kept: float) -> bytes:
        """What may be found afterwards. `kept`: how likely it is that a sector or a size is the last one."""
        if not self.sizes:
            return self.durable
        content = bytearray(self.durable)
        for number, versions in self.sectors.items():
            at = number * SECTOR
            old = self.durable[at : at + SECTOR]
            version = versions[-1] if random.random() < kept else random.choice([old, *versions[:-1]])
            content.extend(bytes(max(0, at + SECTOR - len(content))))
            content[at : at + SECTOR] = version.ljust(SECTOR, b"\0")
        size = self.sizes[-1] if random.random() < kept else random.choice([len(self.durable), *self.sizes])
        return bytes(content[:size].ljust(size, b"\0"))


def tree_of(root: Path) -> dict[Path, bytes | None]:
    """Every path below `root` with its content; None: a directory."""
    return {path: None if path.is_dir() else path.read_bytes() for path in sorted(root.rglob("*"))}


class Change(NamedTuple):
    """One change of a directory that may not be durable."""

    directory: Path
    removed: Path | None
    added: Path | None
    file: File | None
    """None: a directory."""


class Disk:
    """The tree below `root`, as it is and as it may be found after a power cut."""

    def __init__(self, root: Path, tree: Mapping[Path, bytes | None]) -> None:
        """Begins with this tree, all of it durable."""
        self.root = root
        self.names: dict[Path, File | None] = {root: None}
        for path, content in tree.items():
            self.names[path] = None if content is None else File(content)
        self.durable = dict(self.names)
        self.changes: list[Change] = []
        self._open: dict[int, Path | File] = {}

    def apply(self, call: Call) -> None:
        """Does what the call did."""
        if call.kind == "o":
            self._opened(call)
        elif call.kind == "w":
            file = self._open[call.descriptor]
            assert isinstance(file, File)
            file.write(call.offset, call.data)
        elif call.kind == "t":
            file = self._open[call.descriptor]
            assert isinstance(file, File)
            file.truncate(call.offset)
        elif call.kind == "T":
            file = self.names[call.paths[0]]
            assert file is not None
            file.truncate(call.offset)
        elif call.kind == "s":
            self._synced(self._open[call.descriptor])
        elif call.kind == "u":
            self._change(removed=call.paths[0])
        elif call.kind == "d":
            self._change(added=call.paths[0])
        else:
            source, target = call.paths
            self._change(removed=source if call.kind == "r" else None, added=target, file=self.names[source])

    def contents(self) -> dict[Path, bytes]:
        """Every file as the processes see it."""
        return {path: bytes(file.latest) for path, file in self.names.items() if file is not None}

    def cut(self, target: Path, random: Random, kept: float) -> None:
        """Writes to `target` what may be found after a power cut now; see the module for what may."""
        names = dict(self.durable)
        for change in self.changes:
            if random.random() < kept:
                _do(names, change)
        written: dict[int, Path] = {}
        for path in sorted(names):
            file, place = names[path], target / path.relative_to(self.root)
            if path != self.root and not place.parent.exists():
                continue
            if file is None:
                place.mkdir(parents=True)
            elif id(file) in written:
                place.hardlink_to(written[id(file)])
            else:
                place.write_bytes(file.after_cut(random, kept))
                written[id(file)] = place

    def _opened(self, call: Call) -> None:
        path, flags = call.paths[0], call.offset
        if path not in self.names:
            self._change(added=path, file=File())
        file = self.names[path]
        if file is not None and flags & os.O_TRUNC:
            file.truncate()
        self._open[call.descriptor] = path if file is None else file

    def _synced(self, what: Path | File) -> None:
        if isinstance(what, File):
            what.sync()
            return
        for change in self.changes:
            if change.directory == what:
                _do(self.durable, change)
        self.changes = [change for change in self.changes if change.directory != what]

    def _change(self, removed: Path | None = None, added: Path | None = None, file: File | None = None) -> None:
        place = added or removed
        assert place is not None
        change = Change(place.parent, removed, added, file)
        self.changes.append(change)
        _do(self.names, change)


def _do(names: dict[Path, File | None], change: Change) -> None:
    if change.removed is not None:
        names.pop(change.removed, None)
    if change.added is not None:
        names[change.added] = change.file
