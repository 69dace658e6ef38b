"""Which commands may be sent, and what is read from whatever stands in Kafka: over everything hypothesis thinks of."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bridge import orders
from bridge.device_side.command import Command, Stage, ready
from bridge.orders import Order

COMMANDS = st.lists(
    st.tuples(st.sampled_from(Stage), st.sampled_from(["parallel", "serial"]), st.booleans()), max_size=8
)


@given(COMMANDS, st.integers(1, 5), st.booleans())
def test_serial_ones_are_alone_and_the_bound_and_the_clock_hold(
    kinds: list[tuple[Stage, str, bool]], most: int, clock_is_right: bool
) -> None:
    commands = [
        Command("dev-1", Order(str(number), concurrency=how, deadline="x" if dated else None), number, None, stage)  # type: ignore[arg-type]  # (one of the two)
        for number, (stage, how, dated) in enumerate(kinds)
    ]
    found = ready(commands, most, clock_is_right=clock_is_right)
    assert [command.number for command in found] == sorted(command.number for command in found)
    assert all(command.stage is Stage.WAITING for command in found)
    assert clock_is_right or all(command.order.deadline is None for command in found)
    before = commands[: found[-1].number] if found else []
    assert len(found) + sum(command.stage is Stage.SENT for command in before) <= most
    assert all(command.number == 0 for command in found if command.order.concurrency == "serial")
    assert all(command.order.concurrency == "parallel" for command in before)


VALUES = st.binary(max_size=60) | st.dictionaries(
    st.sampled_from(
        ["id", "name", "payload", "deadline", "qos", "response", "concurrency", "cancel", "record", "fault"]
    ),
    st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=5) | st.just("serial"),
).map(msgspec.json.encode)


@given(st.none() | VALUES, st.integers(1, 80))
def test_whatever_is_read_goes_through_the_log(value: bytes | None, most: int) -> None:
    order = orders.read(value, "3:14", most)
    again = orders.decode(orders.encode(order))
    assert bytes(again.payload) == bytes(order.payload)
    assert (again.id, again.name, again.fault, again.record) == (order.id, order.name, order.fault, "3:14")
    assert order.fault or (order.id and (order.name or order.cancel))
    assert order.key == order.id or order.key == "/3:14"
