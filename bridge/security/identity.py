"""The device id: read from a certificate that TLS has already verified, or refused.

It verifies nothing itself: that the certificate is genuine, in date and not revoked is `tls`'s answer.
"""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.x509.oid import NameOID

URI_PREFIX = "urn:busbridge:device:"
"""A subjectAltName URI of this form names the device; it goes before the common name."""

ID_MAX_CHARS = 128

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


def device_from_certificate(der: bytes) -> str:
    """Return the device id of a verified certificate (DER): its SAN URI `urn:busbridge:device:ID`, else its one CN.

    Raises:
        IdentityError: there is no such name, more than one, or `check_device_id` refuses it.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        return device_named_in(certificate, "its certificate")
    except (ValueError, x509.DuplicateExtension) as error:
        raise IdentityError(f"its certificate cannot be read: {error}") from error


def device_named_in(holder: x509.Certificate | x509.CertificateSigningRequest, what: str) -> str:
    """Return the device id in a certificate or a request for one, as `device_from_certificate` does.

    `what` stands for it in messages.

    Raises:
        IdentityError: as there.
        ValueError, x509.DuplicateExtension: it cannot be read.
    """
    names = _uri_names(holder) or _names(holder, NameOID.COMMON_NAME)
    if not names:
        raise IdentityError(f"{what} has neither a common name nor a URI {URI_PREFIX}ID")
    if len(names) > 1:
        raise IdentityError(f"{what} names more than one device: {', '.join(map(repr, names[:4]))}")
    return check_device_id(names[0])


def units_named_in(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the organizational units (OU) of its subject, which may be roles."""
    return _names(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)


def _uri_names(holder: x509.Certificate | x509.CertificateSigningRequest) -> tuple[str, ...]:
    try:
        names = holder.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return tuple(uri.removeprefix(URI_PREFIX) for uri in uris if uri.startswith(URI_PREFIX))


def _names(holder: x509.Certificate | x509.CertificateSigningRequest, kind: x509.ObjectIdentifier) -> tuple[str, ...]:
    values = (attribute.value for attribute in holder.subject.get_attributes_for_oid(kind))
    return tuple(value if isinstance(value, str) else value.decode("utf-8", "replace") for value in values)
