"""The device id: read from a certificate that TLS has already verified, or refused.

It verifies nothing itself: that the certificate is genuine, in date and not revoked is `tls`'s answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal

from cryptography import x509
from cryptography.x509.oid import NameOID

URI_PREFIX = "urn:busbridge:device:"
"""A subjectAltName URI of this form names the device; it goes before the common name."""

ID_MAX_CHARS = 128
PLACEHOLDER: Final = "{device}"
Source = Literal["cn", "san-uri", "san-dns"]
Holder = x509.Certificate | x509.CertificateSigningRequest

_ALLOWED = re.compile(r"[A-Za-z0-9_:@][A-Za-z0-9._:@-]*\Z")


class IdentityError(Exception):
    """The certificate names no device, or one with a name that this gateway does not take."""


def check_device_id(device: str) -> str:
    """Return `device` if it can be a device id.

    The letters leave out what would be a wildcard or a level of its own in an MQTT topic (`+`, `#`, `/`), and what
    would be an option or a hidden file on a command line.

    Raises:
        IdentityError: it is empty, longer than 128 characters, or has a character outside `A-Z a-z 0-9 . _ : @ -`.
    """
    if not device:
        raise IdentityError("the device id is empty")
    if len(device) > ID_MAX_CHARS:
        raise IdentityError(f"the device id has {len(device)} characters, more than {ID_MAX_CHARS}")
    if not _ALLOWED.match(device):
        raise IdentityError(
            f"the device id {device!r} has characters outside A-Z a-z 0-9 . _ : @ - (or begins with . or -)"
        )
    return device


class Naming:
    """What of a certificate names the device, and what that name looks like."""

    def __init__(self, source: Source | None = None, template: str | None = None) -> None:
        """Args:
        source: the kind of name; None: the SAN URI `urn:busbridge:device:ID`, else the common name.
        template: the name with `{device}` in place of the device id; None: the kind's own.

        Raises:
            ValueError: the template does not have `{device}` in it once.
        """
        default = f"{URI_PREFIX}{PLACEHOLDER}" if source in (None, "san-uri") else PLACEHOLDER
        self._source = source
        self._template = default if template is None else template
        if self._template.count(PLACEHOLDER) != 1:
            raise ValueError(f"{self._template!r} does not have {PLACEHOLDER} in it once")
        self._before, _, self._behind = self._folded(self._template).partition(PLACEHOLDER)

    def device(self, holder: Holder, what: str = "its certificate") -> str:
        """Return the device id in a certificate or a request for one; `what` stands for it in messages.

        DNS names are compared, and taken, in lower case (RFC 4343).

        Raises:
            IdentityError: there is no such name, more than one, or `check_device_id` refuses it.
            ValueError, x509.DuplicateExtension: it cannot be read.
        """
        names = self._devices(holder)
        if not names:
            raise IdentityError(f"{what} has {self._wanted}")
        if len(names) > 1:
            raise IdentityError(f"{what} names more than one device: {', '.join(map(repr, names[:4]))}")
        return check_device_id(names[0])

    def _devices(self, holder: Holder) -> tuple[str, ...]:
        if self._source is None:
            return self._fitting(_alternatives(holder, "san-uri")) or common_names(holder)
        if self._source == "cn":
            return self._fitting(common_names(holder))
        return self._fitting(_alternatives(holder, self._source))

    def _fitting(self, names: Iterable[str]) -> tuple[str, ...]:
        least = len(self._before) + len(self._behind)
        return tuple(
            name[len(self._before) : len(name) - len(self._behind)]
            for name in map(self._folded, names)
            if len(name) >= least and name.startswith(self._before) and name.endswith(self._behind)
        )

    def _folded(self, name: str) -> str:
        return name.lower() if self._source == "san-dns" else name

    @property
    def _wanted(self) -> str:
        if self._source is None:
            return f"neither a common name nor a URI {URI_PREFIX}ID"
        kind = {"cn": "common name", "san-uri": "URI", "san-dns": "DNS name"}[self._source]
        return f"no {kind} like {self._template}"


USUAL: Final = Naming()
"""The SAN URI `urn:busbridge:device:ID`, else the one common name."""


def device_from_certificate(der: bytes, naming: Naming = USUAL) -> str:
    """Return the device id of a verified certificate (DER).

    Raises:
        IdentityError: it cannot be read, or as `Naming.device`.
    """
    return device_in(read_certificate(der), naming)


def read_certificate(der: bytes) -> x509.Certificate:
    """Parse a certificate (DER). Raises IdentityError: it is none."""
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise IdentityError(f"its certificate cannot be read: {error}") from error


def device_in(certificate: x509.Certificate, naming: Naming = USUAL) -> str:
    """Return the device id of a verified certificate. Raises IdentityError: as `device_from_certificate`."""
    try:
        return naming.device(certificate)
    except (ValueError, x509.DuplicateExtension) as error:
        raise IdentityError(f"its certificate cannot be read: {error}") from error


def units_named_in(holder: Holder) -> tuple[str, ...]:
    """Return the organizational units (OU) of its subject, which may be roles."""
    return _names(holder, NameOID.ORGANIZATIONAL_UNIT_NAME)


def common_names(holder: Holder) -> tuple[str, ...]:
    """Return the common names (CN) of its subject."""
    return _names(holder, NameOID.COMMON_NAME)


def _alternatives(holder: Holder, kind: Literal["san-uri", "san-dns"]) -> list[str]:
    try:
        names = holder.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    if kind == "san-dns":
        return names.get_values_for_type(x509.DNSName)
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _names(holder: Holder, kind: x509.ObjectIdentifier) -> tuple[str, ...]:
    values = (attribute.value for attribute in holder.subject.get_attributes_for_oid(kind))
    return tuple(value if isinstance(value, str) else value.decode("utf-8", "replace") for value in values)
