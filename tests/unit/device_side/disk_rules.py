"""What machines of commands share: orders come from Kafka, the disk takes its time, the lane is full for a while."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from bridge.log.errors import LogFull

SOME = st.integers(0, 40)
FEW = st.integers(1, 6)


class DiskRules(RuleBasedStateMachine):
    """A machine has `gateway`, one life of the device side, and says how that takes an order and looks at the time."""

    gateway: Any
    kafka: list[Any]
    """What was written to the topic."""
    taken: int
    """In `kafka`: where the gateway is."""
    done: set[int]
    position: int
    saved: int
    """In `kafka`: what is durable here, and what the cursor's file says of that."""

    @abstractmethod
    def _take(self, number: int, done: Callable[[], None]) -> None:
        """Raises LogFull."""

    @abstractmethod
    def _look(self) -> None:
        """As the gateway does now and then."""

    def _pump(self) -> None:
        while self.taken < len(self.kafka):
            number = self.taken

            def done(number: int = number) -> None:
                self.done.add(number)
                while self.position in self.done:
                    self.position += 1

            self.taken += 1
            try:
                self._take(number, done)
            except LogFull:
                self.taken -= 1
                return
        self._turn()

    def _turn(self) -> None:
        """What the loop does at once."""
        for _ in range(3):
            self.gateway.local.loop.run_until_complete(_nothing())

    @rule(count=FEW)
    def the_log_has(self, count: int) -> None:
        self.gateway.lane.commit(count)

    @rule()
    def the_log_is_heard(self) -> None:
        self.gateway.lane.hear()
        self._turn()

    @rule()
    def sessions_are_written(self) -> None:
        self.gateway.local.broker.keep_messages()

    @rule(count=SOME)
    def the_store_has(self, count: int) -> None:
        self.gateway.store.commit(count)
        self.gateway.local.run_soon()
        self._turn()

    @rule()
    def the_cursor_is_saved(self) -> None:
        self.saved = self.position

    @rule(full=st.booleans())
    def the_lane_is_full(self, full: bool) -> None:
        self.gateway.lane.full = full
        self._pump()
        self._look()

    def _settle(self, rounds: int) -> None:
        """Until nothing waits for the disk."""
        self.gateway.lane.full = False
        for _ in range(rounds):
            self._pump()
            self._look()
            self.gateway.lane.commit(1000)
            self.gateway.lane.hear()
            self._turn()
            self.gateway.local.broker.keep_messages()
            self.gateway.store.commit(1000)
            self.gateway.local.run_soon()
            self._turn()


async def _nothing() -> None:
    """One turn of the loop."""
