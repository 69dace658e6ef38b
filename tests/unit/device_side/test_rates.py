"""How often an address and a device may come, and what becomes of an address that fails."""

from __future__ import annotations

import pytest

from bridge.config import Limits
from bridge.device_side.rates import DEVICE, FAILING, OFTEN, Rates


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def reason(refusal: tuple[str, str] | None) -> str | None:
    return refusal and refusal[0]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_by_default_a_fleet_of_any_size_may_come_from_one_address(clock: Clock) -> None:
    rates = Rates(Limits(), clock)
    assert [rates.connect("192.0.2.1") for _ in range(20_000)] == [None] * 20_000


def test_connections_of_an_address(clock: Clock) -> None:
    rates = Rates(Limits(address_connects_per_s=2, address_burst=3), clock)
    assert [reason(rates.connect("192.0.2.1")) for _ in range(4)] == [None, None, None, OFTEN]
    assert rates.connect("192.0.2.2") is None
    clock.now = 1.0
    assert [reason(rates.connect("192.0.2.1")) for _ in range(3)] == [None, None, OFTEN]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_who_shares_an_address(clock: Clock, one: str, other: str, same: bool) -> None:
    rates = Rates(Limits(address_connects_per_s=1, address_burst=1), clock)
    assert rates.connect(one) is None
    assert reason(rates.connect(other)) == (OFTEN if same else None)


def test_loopback_and_what_is_exempt_have_no_rates(clock: Clock) -> None:
    limits = Limits(address_connects_per_s=1, address_burst=1, address_exempt=("127.0.0.0/8", "10.0.0.0/8"))
    rates = Rates(limits, clock)
    assert [rates.connect(host) for host in ("127.0.0.1", "10.1.2.3") for _ in range(3)] == [None] * 6


def test_a_pause_for_failures_doubles_and_is_forgiven(clock: Clock) -> None:
    rates = Rates(Limits(address_failures_per_s=1, address_failures_burst=4, address_pause_max=4.0), clock)
    pauses = []
    for _ in range(4):
        while rates.connect("192.0.2.1") is None:
            rates.failed("192.0.2.1")
        assert reason(rates.connect("192.0.2.1")) == FAILING
        began = clock.now
        while rates.connect("192.0.2.1") is not None:
            clock.now += 0.5
        pauses.append(clock.now - began)
    assert pauses == [1.0, 2.0, 4.0, 4.0]
    assert rates.connect("192.0.2.2") is None
    clock.now += 100
    for _ in range(5):
        rates.failed("192.0.2.1")
    clock.now += 1.0
    assert rates.connect("192.0.2.1") is None


def test_few_failures_hurt_nobody_behind_the_same_address(clock: Clock) -> None:
    rates = Rates(Limits(), clock)
    for _ in range(600):
        clock.now += 0.1
        rates.failed("192.0.2.1")
        assert rates.connect("192.0.2.1") is None


def test_connections_of_a_device(clock: Clock) -> None:
    rates = Rates(Limits(device_connects_per_s=1, device_burst=2), clock)
    assert [reason(rates.device("dev-1")) for _ in range(3)] == [None, None, DEVICE]
    assert rates.device("dev-2") is None
    assert [Rates(Limits(device_connects_per_s=None), clock).device("dev-1") for _ in range(9)] == [None] * 9
