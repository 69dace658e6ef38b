"""Who a certificate says a device is."""

from __future__ import annotations

import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from bridge.security.identity import IdentityError, Naming, check_device_id, device_from_certificate
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


URN, DNS = "urn:acme:device:{device}", "{device}.dev.acme.example"


def named(common: str = "", uris: list[str] = (), hosts: list[str] = ()) -> x509.CertificateSigningRequest:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else []
    names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, hosts)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(AUTHORITY.credential.key, hashes.SHA256())


@pytest.mark.parametrize(
    ("naming", "holder", "device"),
    [
        (Naming("cn"), named("a", ["urn:busbridge:device:b"]), "a"),
        (Naming("cn", "{device}@plant-3"), named("a@plant-3"), "a"),
        (Naming("san-uri"), named("a", ["urn:busbridge:device:b"]), "b"),
        (Naming("san-uri", URN), named("a", ["urn:acme:site:3", "urn:acme:device:b"], ["c"]), "b"),
        (Naming("san-uri", "spiffe://acme/{device}"), named(uris=["spiffe://acme/b"]), "b"),
        (Naming("san-dns"), named("a", [], ["plc-7"]), "plc-7"),
        (Naming("san-dns", DNS), named("a", [], ["PLC-7.Dev.acme.example", "gw.acme.example"]), "plc-7"),
    ],
)
def test_a_listener_says_which_name_is_the_device(naming: Naming, holder: object, device: str) -> None:
    assert naming.device(holder) == device


@pytest.mark.parametrize(
    ("naming", "holder", "said"),
    [
        (Naming("san-uri"), named("a"), "no URI like urn:busbridge:device:{device}"),
        (Naming("san-uri", URN), named("a", ["urn:acme:device:"]), "the device id is empty"),
        (Naming("san-dns", DNS), named("a.dev.acme.example"), "no DNS name like"),
        (Naming("cn", "x-{device}"), named("y-1"), "no common name like x-{device}"),
        (Naming("san-dns"), named("a", [], ["b", "c"]), "more than one device: 'b', 'c'"),
        (Naming("san-uri", URN), named(uris=["urn:acme:device:../#"]), "characters outside"),
        (Naming("cn", "aa{device}aa"), named("aaa"), "no common name like"),
    ],
)
def test_who_has_no_such_name_is_nobody(naming: Naming, holder: object, said: str) -> None:
    with pytest.raises(IdentityError, match=re.escape(said)):
        naming.device(holder)


@pytest.mark.parametrize("template", ["", "dev", "{device}{device}"])
def test_a_template_has_one_place_for_the_device(template: str) -> None:
    with pytest.raises(ValueError, match="in it once"):
        Naming("cn", template)
