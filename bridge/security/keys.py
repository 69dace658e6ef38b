"""Recipients' key files: NAME.pub for the gateways, NAME.key for the reader alone."""

from __future__ import annotations

import base64
import binascii
import os
import re
import struct
from pathlib import Path

from bridge.credentials import PublicSecret, refuse_if_public
from bridge.security.recipient import MLKEM768_X25519, SECRET_BYTES, X25519, PrivateKey, PublicKey

_KINDS = {X25519: "X25519", MLKEM768_X25519: "ML-KEM-768 and X25519, post-quantum"}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")
_LINE_CHARS = 64


class KeyFileError(Exception):
    """A key file is missing, in the way, or not what it should be; the message names it."""


def new(name: str, directory: Path, post_quantum: bool = False) -> tuple[Path, Path]:
    """Make a recipient's key pair; return the paths of `NAME.pub` and `NAME.key` (mode 0600) in `directory`.

    Raises:
        KeyFileError: the name would not do as a file name, or one of the files exists.
        OSError: the directory cannot be written.
    """
    if not _NAME.match(name):
        raise KeyFileError(f"{name!r} does not do as a recipient's name: use letters, digits, '.', '_' and '-'")
    private = PrivateKey(MLKEM768_X25519 if post_quantum else X25519, os.urandom(SECRET_BYTES))
    directory.mkdir(parents=True, exist_ok=True)
    public_path, private_path = directory / f"{name}.pub", directory / f"{name}.key"
    for path in (public_path, private_path):
        if path.exists():
            raise KeyFileError(f"{path} exists; a recipient's key is never overwritten")
    _write(private_path, 0o600, _private_text(name, private))
    _write(public_path, 0o644, public_text(name, private.public))
    return public_path, private_path


def load_public(path: Path) -> PublicKey:
    """Read `NAME.pub`. Raises KeyFileError."""
    kem, raw = _read(path, "PUBLIC")
    try:
        return PublicKey(kem, raw)
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}") from error


def load_private(path: Path) -> PrivateKey:
    """Read `NAME.key`.

    Raises:
        KeyFileError: it cannot be read, is no private key, or every user of this machine may read it.
    """
    kem, secret = _read(path, "PRIVATE")
    try:
        refuse_if_public(path)
    except PublicSecret as error:
        raise KeyFileError(str(error)) from None
    try:
        return PrivateKey(kem, secret)
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}") from error


def public_text(name: str, key: PublicKey) -> str:
    """Return the content of `NAME.pub`."""
    comment = (
        f"# busbridge recipient {name}: public key ({_KINDS[key.kem]}), id {key.id.hex()}; gateways seal with it\n"
    )
    return comment + _armour("PUBLIC", key.kem, key.raw)


def _private_text(name: str, key: PrivateKey) -> str:
    kind, key_id = _KINDS[key.kem], key.public.id.hex()
    comment = f"# busbridge recipient {name}: PRIVATE key ({kind}), id {key_id}; keep it from gateways\n"
    return comment + _armour("PRIVATE", key.kem, key.secret)


def _armour(kind: str, kem: int, raw: bytes) -> str:
    text = base64.b64encode(struct.pack(">H", kem) + raw).decode()
    lines = [text[start : start + _LINE_CHARS] for start in range(0, len(text), _LINE_CHARS)]
    return "\n".join((f"-----BEGIN BUSBRIDGE {kind} KEY-----", *lines, f"-----END BUSBRIDGE {kind} KEY-----", ""))


def _read(path: Path, kind: str) -> tuple[int, bytes]:
    try:
        text = path.read_text("ascii")
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{path} is not a busbridge key file") from error
    found = re.search(
        rf"^-----BEGIN BUSBRIDGE {kind} KEY-----\n(.*?)^-----END BUSBRIDGE {kind} KEY-----$", text, re.M | re.S
    )
    if found is None:
        raise KeyFileError(f"{path} holds no busbridge {kind.lower()} key{_other_kind(text, kind)}")
    try:
        body = base64.b64decode("".join(found[1].split()), validate=True)
    except binascii.Error as error:
        raise KeyFileError(f"{path} is damaged: its base64 does not decode") from error
    if len(body) < 2:
        raise KeyFileError(f"{path} is damaged: it is empty inside")
    return int.from_bytes(body[:2], "big"), body[2:]


def _other_kind(text: str, kind: str) -> str:
    other = "PRIVATE" if kind == "PUBLIC" else "PUBLIC"
    return f", but a {other.lower()} one" if f"BEGIN BUSBRIDGE {other} KEY" in text else ""


def _write(path: Path, mode: int, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
