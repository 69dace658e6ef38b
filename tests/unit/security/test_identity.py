"""Who a certificate says a device is."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from bridge.security.identity import IdentityError, check_device_id, device_from_certificate
from bridge.security.pki import Authority, Validity

AUTHORITY = Authority.create("CA")


def certificate(common_names: list[str], uris: list[str] = ()) -> bytes:
    """Build a certificate that our own `pki` would never make."""
    key = AUTHORITY.credential.key
    validity = Validity.days(1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names]))
        .issuer_name(AUTHORITY.credential.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(validity.not_before)
        .not_valid_after(validity.not_after)
    )
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_the_common_name_is_the_device():
    assert device_from_certificate(AUTHORITY.issue_device("plc-7").certificate.public_bytes(Encoding.DER)) == "plc-7"


def test_the_uri_goes_before_the_common_name():
    assert device_from_certificate(certificate(["a"], ["https://x.example", "urn:busbridge:device:b"])) == "b"


def test_another_uri_is_no_name():
    assert device_from_certificate(certificate(["a"], ["urn:uuid:1"])) == "a"


@pytest.mark.parametrize(
    ("common_names", "uris", "reason"),
    [
        ([], [], "neither a common name"),
        (["a", "b"], [], "more than one device"),
        (["a"], ["urn:busbridge:device:b", "urn:busbridge:device:c"], "more than one device"),
        (["a/b"], [], "outside"),
        (["a"], ["urn:busbridge:device:"], "empty"),
        (["+"], [], "outside"),
        (["dev #1"], [], "outside"),
        (["gerät"], [], "outside"),
        (["dev\n"], [], "outside"),
    ],
)
def test_refused_with_its_reason(common_names, uris, reason):
    with pytest.raises(IdentityError, match=reason):
        device_from_certificate(certificate(common_names, uris))


def test_what_is_no_certificate_is_refused():
    with pytest.raises(IdentityError, match="cannot be read"):
        device_from_certificate(b"\x30\x03abc")


def test_a_name_may_not_be_too_long():
    assert check_device_id("x" * 128) == "x" * 128
    with pytest.raises(IdentityError, match="129 characters"):
        check_device_id("x" * 129)


@given(st.text(max_size=140))
def test_what_passes_is_one_plain_topic_level(device):
    try:
        passed = check_device_id(device)
    except IdentityError:
        return
    assert passed == device
    assert 1 <= len(device) <= 128
    assert device.isascii()
    assert not set(device) & set("+#/$\\{}\0 \n\r\t\"'")
    assert device[0] not in ".-"
