"""Packed: documents as they are written, decoded when they are asked for.

As objects they took 2 KB for 600 bytes of document (`./dev bench state`). What is got is the asker's own: who changes
it puts it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Final

import msgspec

from bridge.device_side.documents import Document

encode_document: Final = msgspec.json.Encoder().encode
decode_document: Final = msgspec.json.Decoder(Document).decode


class Packed(MutableMapping[str, Document]):
    """By device."""

    def __init__(self, bodies: Iterable[tuple[str, bytes]]) -> None:
        """`bodies`: devices and their encoded documents."""
        self._bodies = dict(bodies)

    def keep(self, device: str, body: bytes) -> None:
        """As setting the document, where it has been encoded already."""
        self._bodies[device] = body

    def written(self, device: str) -> bytes | None:
        """The encoded document."""
        return self._bodies.get(device)

    def __contains__(self, device: object) -> bool:
        return device in self._bodies

    def __getitem__(self, device: str) -> Document:
        return decode_document(self._bodies[device])

    def __setitem__(self, device: str, document: Document) -> None:
        self._bodies[device] = encode_document(document)

    def __delitem__(self, device: str) -> None:
        del self._bodies[device]

    def __iter__(self) -> Iterator[str]:
        return iter(self._bodies)

    def __len__(self) -> int:
        return len(self._bodies)
