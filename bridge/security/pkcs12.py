"""PKCS #12 (RFC 7292): certificate, key and CA in one encrypted file, for tools that want it so."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12 as format12


class BundleError(Exception):
    """It holds no certificate with its key."""


def pkcs12(bundle: bytes, name: str, password: str) -> bytes:
    """Return a PEM bundle as PKCS #12, encrypted with AES-256 and a key derived from the password.

    Args:
        bundle: certificate, its issuers and its private key, unencrypted.
        name: the friendly name in the file.
        password: not empty.

    Raises:
        BundleError: see there, or the password is empty.
    """
    if not password:
        raise BundleError("the password is empty: it is all that protects the key in the file")
    try:
        certificate, *issuers = x509.load_pem_x509_certificates(bundle)
        key = serialization.load_pem_private_key(bundle, None)
    except (ValueError, TypeError) as error:
        raise BundleError(f"no certificate with its unencrypted key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
        raise BundleError("its key is of a kind that no device certificate has")
    if key.public_key() != certificate.public_key():
        raise BundleError("its key is not the one of its certificate")
    encryption = serialization.BestAvailableEncryption(password.encode())
    return format12.serialize_key_and_certificates(name.encode(), key, certificate, issuers, encryption)
