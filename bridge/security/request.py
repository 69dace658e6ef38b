"""Certificate requests (PKCS #10, RFC 2986): what a device asks of the CA, so that its private key never leaves it.

Of what a request asks for, only name and key are taken, and its organizational units where whoever signs says so; what
the certificate may be used for, and for how long, is the CA's to say.
"""

from __future__ import annotations

from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from bridge.security.identity import USUAL, check_device_id, units_named_in

RSA_BITS_MIN = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


class RequestError(Exception):
    """It is no request, its sender does not have the key, or the key is too weak; the message says which."""


class Request(NamedTuple):
    """A request that may be signed."""

    device: str
    key: CertificatePublicKeyTypes
    units: tuple[str, ...] = ()
    """The organizational units it asks for; roles may hang on them, so they are granted only where somebody says so."""


def read_request(data: bytes, device: str | None = None) -> Request:
    """Read a request in PEM or DER.

    Args:
        data: the request.
        device: the device id, whatever the request says; None: its URI `urn:busbridge:device:ID`, else its one CN.

    Raises:
        RequestError: see there.
        IdentityError: it names no device, more than one, or one that this gateway does not take.
    """
    try:
        armoured = data.lstrip().startswith(b"-----BEGIN")
        request = x509.load_pem_x509_csr(data) if armoured else x509.load_der_x509_csr(data)
        if not request.is_signature_valid:
            raise RequestError("its signature is not by the key in it: whoever sent it need not have the private key")
        key = request.public_key()
        name = check_device_id(device) if device is not None else USUAL.device(request, "the request")
        units = units_named_in(request)
    except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise RequestError(f"not a certificate request that can be read: {error}") from error
    _check_strength(key)
    return Request(name, key, units)


def _check_strength(key: object) -> None:
    """What TLS clients and servers take today, and nothing weaker."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < RSA_BITS_MIN:
            raise RequestError(f"its RSA key has {key.key_size} bits, fewer than {RSA_BITS_MIN}")
        return
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return
    raise RequestError("its key is neither EC on P-256, P-384 or P-521, nor Ed25519, nor RSA")
