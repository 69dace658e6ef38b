"""Queue keys: what `queue.encrypt` covers the frames of a log with, AES-256-GCM.

Why no nonce is ever used twice with one key: docs/queue-format.md, "Encryption".

A queue key itself encrypts nothing: each life of a segment has a key of its own, made of it and of random bytes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge.log.errors import LogKeyMissing
from bridge.log.record import RecordError
from bridge.log.segment import FRAME_BYTES, SEAL_BYTES, Frame, Header, covered_head

KEY_BYTES: Final = 32
ID_BYTES: Final = 16
SALT_BYTES: Final = 32
NONCE_BYTES: Final = 12
_SEGMENT = struct.Struct("<16sQ")


class SegmentCipher:
    """Seals and opens the frames of one life of one segment."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, head: bytes, records: bytes) -> bytes:
        """Nonce, encrypted records and tag; `head`: of the frame, all but its CRC, which the tag covers too."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, records, head)

    def open(self, data: bytes, frame: Frame) -> bytes:
        """The records of a frame in `data`.

        Raises:
            RecordError: it was not sealed like this: somebody has changed it, and its CRC too.
        """
        at = frame.records_at
        head = covered_head(data, frame.at)
        try:
            return self._aead.decrypt(data[at : at + NONCE_BYTES], data[at + NONCE_BYTES : frame.end], head)
        except InvalidTag:
            raise RecordError("its seal does not match, although its checksum does: it was changed") from None


class QueueKey:
    """One key, and the name that segments know it by."""

    def __init__(self, key: bytes) -> None:
        """`key`: KEY_BYTES random bytes. Raises ValueError."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a queue key has {KEY_BYTES} bytes, this one {len(key)}")
        self._key = key
        self.id = self._derive(b"", b"busbridge queue key id", ID_BYTES)
        """ID_BYTES; says nothing about the key."""

    def segment(self, log_id: bytes, first_seq: int, salt: bytes) -> SegmentCipher:
        """For the segment that has this in its header."""
        info = b"busbridge queue segment" + _SEGMENT.pack(log_id, first_seq)
        return SegmentCipher(self._derive(salt, info, KEY_BYTES))

    def seal(self, purpose: bytes, plain: bytes) -> bytes:
        """Something small that stands beside the segments: salt, nonce, encrypted, tag."""
        salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
        return salt + nonce + AESGCM(self._derive(salt, purpose, KEY_BYTES)).encrypt(nonce, plain, None)

    def open(self, purpose: bytes, sealed: bytes) -> bytes:
        """What `seal` took. Raises ValueError."""
        salt, nonce = sealed[:SALT_BYTES], sealed[SALT_BYTES : SALT_BYTES + NONCE_BYTES]
        try:
            return AESGCM(self._derive(salt, purpose, KEY_BYTES)).decrypt(
                nonce, sealed[SALT_BYTES + NONCE_BYTES :], None
            )
        except InvalidTag:
            raise ValueError("its seal does not match") from None

    def _derive(self, salt: bytes, info: bytes, size: int) -> bytes:
        return HKDF(SHA256(), size, salt, info).derive(self._key)


class Keyring:
    """The key that new segments get, and those that older ones may have."""

    def __init__(self, current: QueueKey | None = None, others: Iterable[QueueKey] = ()) -> None:
        """`current` None: what is written is not encrypted."""
        self.current = current
        self._by_id = {key.id: key for key in (*others, *([current] if current else []))}

    def __bool__(self) -> bool:
        return bool(self._by_id)

    @property
    def current_id(self) -> bytes:
        """Empty: none."""
        return self.current.id if self.current is not None else b""

    def get(self, key_id: bytes, where: Path) -> QueueKey:
        """The key of that id.

        Raises:
            LogKeyMissing: it is not here.
        """
        key = self._by_id.get(key_id)
        if key is None:
            which = "with another key than is given" if self._by_id else "and no key is given"
            raise LogKeyMissing(
                f"{where} is encrypted {which} (its key's id is {key_id.hex()}): give the file of that key "
                "(queue.encrypt_key_file, queue.encrypt_old_key_files, --key-file), or move the segment away and lose "
                "what it holds"
            )
        return key

    def cipher(self, header: Header, where: Path) -> SegmentCipher | None:
        """What opens and seals the frames of this segment; None: they are plain. Raises LogKeyMissing."""
        if not header.key_id:
            return None
        return self.get(header.key_id, where).segment(header.log_id, header.first_seq, header.key_salt)


def records_of(data: bytes, frame: Frame, cipher: SegmentCipher | None) -> tuple[bytes, int, int]:
    """The records of a frame in `data`: `(buffer, start, end)`. Raises RecordError: its seal does not match."""
    if cipher is None:
        return data, frame.records_at, frame.end
    if frame.end - frame.at < FRAME_BYTES + SEAL_BYTES:
        raise RecordError("it is too short to be sealed, although its checksum is good: it was changed")
    plain = cipher.open(data, frame)
    return plain, 0, len(plain)
