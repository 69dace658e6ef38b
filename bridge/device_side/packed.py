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
_ONLINE: Final = b'"state":"online"'
_DESIRED: Final = b'"desired":{'
"""Both stand in the JSON of each such document, and perhaps in others'."""


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

    def online(self) -> Iterator[Document]:
        """Those that call their device online."""
        for document in self._having(_ONLINE, list(self._bodies)):
            if document.presence is not None and document.presence.state == "online":
                yield document

    def desired(self, devices: Iterable[str] | None) -> Iterator[Document]:
        """Those with something desired, of these devices or (None) of all."""
        for document in self._having(_DESIRED, list(self._bodies) if devices is None else devices):
            if document.desired is not None:
                yield document

    def _having(self, part: bytes, devices: Iterable[str]) -> Iterator[Document]:
        for device in devices:
            body = self._bodies.get(device, b"")
            if part in body:
                yield decode_document(body)

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
