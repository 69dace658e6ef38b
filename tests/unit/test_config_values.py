"""The small values of a configuration: quantities, addresses, secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.address import AddressError, is_loopback, split_address
from bridge.credentials import SecretError, secret, secret_path
from bridge.units import (
    UnitError,
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0 B", 0), ("512 B", 512), ("1KiB", 1024), ("1.5 MiB", 3 << 19), (" 8 GiB ", 8 << 30), ("2 TiB", 2 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "8", "GiB", "8 GB", "8 gib", "-1 B", "1e3 B", "0.5 B", "1 KiB 1 B", "１ KiB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UnitError):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0 s", 0), ("250 ms", 0.25), ("5us", 0.000005), ("1.5 min", 90), ("2 h", 7200), ("7 d", 604_800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "rate"), [("500 KB/s", 500_000), ("1.5MiB/s", 3 << 19), ("8 B / s", 8), ("2 MB/s", 2_000_000)]
)
def test_rates(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "5", "500 KB", "500 /s", "500 KB/min", "500 kbit/s", "-1 KB/s", "0.5 B/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(UnitError):
        parse_rate(text)


@pytest.mark.parametrize("text", ["", "5", "5 sec", "5 S", "-5 s", "inf s", "nan s", "5 KiB"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UnitError):
        parse_duration(text)


@given(st.integers(0, 1 << 49))
def test_a_printed_size_reads_back(size: int) -> None:
    assert parse_size(format_size(size)) == size
    assert parse_rate(format_rate(size)) == size


@given(st.integers(0, 10**9).map(lambda micros: micros / 1_000_000))
def test_a_printed_duration_reads_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("address", "host", "port", "loopback"),
    [
        ("127.0.0.1:1883", "127.0.0.1", 1883, True),
        ("127.9.9.9:0", "127.9.9.9", 0, True),
        ("localhost:1", "localhost", 1, True),
        ("[::1]:8883", "::1", 8883, True),
        ("[::]:8883", "::", 8883, False),
        ("0.0.0.0:8883", "0.0.0.0", 8883, False),
        ("localhost.example:9092", "localhost.example", 9092, False),
    ],
)
def test_addresses(address: str, host: str, port: int, loopback: bool) -> None:
    assert split_address(address) == (host, port)
    assert is_loopback(address) is loopback


@pytest.mark.parametrize("text", ["", "host", ":1883", "host:", "host:x", "::1:1883", "host:65536", "a b:1", "a:1\n"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(AddressError):
        split_address(text)


def _keep(place: Path, content: bytes) -> None:
    """A secret, for its owner alone: others are refused."""
    place.write_bytes(content)
    place.chmod(0o600)


def test_a_secret_is_what_its_file_says_without_the_line_end(tmp_path: Path) -> None:
    _keep(tmp_path / "password", b" two words \r\n")
    assert secret(tmp_path / "password", {}) == " two words "


def test_a_secret_is_also_looked_for_among_systemds_credentials(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    _keep(credentials / "password", b"from systemd\n")
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert secret(tmp_path / "password", environ) == "from systemd"
    _keep(tmp_path / "password", b"from the file\n")
    assert secret(tmp_path / "password", environ) == "from the file"
    assert secret_path(tmp_path / "none", environ) == tmp_path / "none"


def test_a_secret_that_cannot_be_read_says_where_and_why(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="none cannot be read: No such file"):
        secret(tmp_path / "none", {})
    _keep(tmp_path / "empty", b"\n")
    with pytest.raises(SecretError, match="is empty"):
        secret(tmp_path / "empty", {})
    _keep(tmp_path / "binary", b"\xff\xfehunter2")
    with pytest.raises(SecretError, match="not UTF-8") as caught:
        secret(tmp_path / "binary", {})
    assert "hunter2" not in str(caught.value)
