"""Commands to groups: handed out to the devices that are in the group here, some at a time; then one summary.

To whom a command goes is decided here and now: devices of this gateway that have the label when it is handed out,
asleep or not. Who gets the label, or comes to this gateway, later has nothing to do with it.

How far the handing out has come is stored when what was handed out is durable, so a kill has the last slice handed out
again, which changes nothing: each device knows its command by the id.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import msgspec

from bridge import orders
from bridge.config import Downlink
from bridge.device_side.broker import Broker
from bridge.device_side.cold import ColdStore
from bridge.device_side.command import Verdict, summed_up
from bridge.device_side.commands import Commands
from bridge.device_side.outcomes import Outcomes
from bridge.device_side.tallies import Key, Tallies, row_of_key
from bridge.groups import GROUPS, BadLabels, check_group
from bridge.log.errors import LogFull
from bridge.orders import Order

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class GroupOrder(msgspec.Struct):
    """A command to a group that is not over."""

    group: str
    order: Order
    number: int
    """Rises from one to the next."""
    cursor: str = ""
    """Devices up to this one, in alphabetical order, have it."""
    handed_out: bool = False
    cancel: bool = False
    """It is being taken back, from devices up to the cursor."""

    @property
    def key(self) -> Key:
        """As a device's."""
        return f"{GROUPS}{self.group}", self.order.id


_decode = msgspec.json.Decoder(GroupOrder).decode


class _Slice:
    """What is handed out at once, and waits to be durable."""

    def __init__(self, group: GroupOrder, devices: list[str]) -> None:
        self.group = group
        self.cancel = group.cancel
        self.devices = deque(devices)
        self.count = 0
        self.waiting = 0
        self.last = group.cursor


class GroupCommands:
    """Group and id → the command, as long as one of its devices is not done with it."""

    def __init__(
        self,
        settings: Downlink,
        commands: Commands,
        outcomes: Outcomes,
        tallies: Tallies,
        broker: Broker,
        cold: ColdStore,
        *,
        devices: Callable[[], list[str]],
        has_member: Callable[[str, str], bool],
        soon: Callable[[Callable[[], object]], object],
    ) -> None:
        """Args:
        settings: bounds.
        commands: of each device.
        outcomes: what is said.
        tallies: how many devices came to which end.
        broker: writes rows, and says when they are on disk.
        cold: where they are kept.
        devices: all that there are documents of.
        has_member: whether a group has this device, and it is this gateway's.
        soon: the loop's `call_soon`.
        """
        self._settings = settings
        self._commands = commands
        self._outcomes = outcomes
        self._tallies = tallies
        self._broker = broker
        self._cold = cold
        self._devices = devices
        self._has_member = has_member
        self._soon = soon
        self._open: dict[Key, GroupOrder] = {}
        """Oldest first."""
        self._unkept: set[Key] = set()
        """Those that are not on disk yet: nothing of them is handed out, for nobody would count its outcomes."""
        self._slice: _Slice | None = None
        self._running = False
        self._last_number = 0

    def __len__(self) -> int:
        return len(self._open)

    def restore(self) -> None:
        """At start, when the commands of devices are restored."""
        found = [_decode(value) for _, value in self._cold.load("group_orders")]
        for group in sorted(found, key=lambda each: each.number):
            self._last_number = group.number
            if self._outcomes.over(group.key):
                self._cold.put("group_orders", row_of_key(group.key), None)
            else:
                self._open[group.key] = group
        self._tallies.keep_only(self._open)
        self.look()

    def take(self, name: str, order: Order, done: Callable[[], object]) -> None:
        """Takes an order for a group in; `done` when that is durable. One that was here before changes nothing.

        Raises:
            LogFull: the state lane has no room; nothing was done.
        """
        key = (f"{GROUPS}{name}", order.key)
        known = self._open.get(key)
        problem = self._problem(name, order)
        if self._outcomes.over(key):
            self._outcomes.when_durable(key, done)
        elif known is not None and order.cancel and not order.fault:
            self._take_back(known, done)
        elif known is not None:
            self._broker.when_kept(done)
        elif problem:
            self._outcomes.say(key, order, Verdict("refused", problem), done)
        elif order.cancel:
            _log.info("command group=%s id=%s: there is nothing to take back", name, order.id)
            done()
        else:
            self._accept(name, order, done)

    def look(self) -> None:
        """To be called several times a second: what found no room is tried again, and what is over is said."""
        if self._open and not self._running:
            self._running = True
            self._soon(self._run)

    def _problem(self, name: str, order: Order) -> str:
        if order.fault:
            return order.fault
        try:
            check_group(name)
        except BadLabels as error:
            return str(error)
        most = self._settings.group_command_max_bytes
        if (size := len(orders.encode(order))) > most:
            return f"it has {size} bytes, more than {most}, which is the most for a group"
        if not order.cancel and len(self._open) >= self._settings.group_commands_open:
            return f"{self._settings.group_commands_open} commands to groups are not over yet"
        return ""

    def _accept(self, name: str, order: Order, done: Callable[[], object]) -> None:
        self._last_number += 1
        group = GroupOrder(name, order, self._last_number)
        self._open[group.key] = group
        self._unkept.add(group.key)
        self._keep(group)

        def kept() -> None:
            self._unkept.discard(group.key)
            done()
            self.look()

        self._broker.when_kept(kept)

    def _take_back(self, group: GroupOrder, done: Callable[[], object]) -> None:
        if not group.cancel:
            group.cancel, group.cursor, group.handed_out = True, "", False
            self._keep(group)
        self._broker.when_kept(done)
        self._broker.when_kept(self.look)

    def _keep(self, group: GroupOrder) -> None:
        self._broker.put("group_orders", row_of_key(group.key), _encode(group))

    def _run(self) -> None:
        self._running = False
        serving = next((group for group in self._open.values() if not group.handed_out), None)
        try:
            if serving is not None and serving.key not in self._unkept:
                self._serve(serving)
            for group in list(self._open.values()):
                if group.handed_out:
                    self._sum_up(group)
        except LogFull:
            return  # it will have room again: `look`

    def _serve(self, group: GroupOrder) -> None:
        """One slice further, if the last one is durable. Raises LogFull: in the middle of one; to be called again."""
        if self._slice is None or self._slice.group is not group or self._slice.cancel != group.cancel:
            self._slice = _Slice(group, self._concerned(group))
        part = self._slice
        while part.devices and part.count < self._settings.group_slice:
            if part.cancel or self._has_member(group.group, part.devices[0]):
                self._hand_out(part, part.devices[0])
            part.last = part.devices.popleft()
            part.count += 1
        if part.waiting:
            return
        group.cursor, part.count = part.last, 0
        if not part.devices:
            group.handed_out, self._slice = True, None
        self._keep(group)
        self.look()

    def _concerned(self, group: GroupOrder) -> list[str]:
        """Those that it may concern, as far as it has not come to them yet."""
        found = self._commands.having(group.key) if group.cancel else self._devices()
        return sorted(device for device in found if device > group.cursor)

    def _hand_out(self, part: _Slice, device: str) -> None:
        order = part.group.order
        one = Order(order.id, cancel=True) if part.cancel else msgspec.structs.replace(order, group=part.group.group)

        def durable() -> None:
            part.waiting -= 1
            if not part.waiting:
                self.look()

        part.waiting += 1
        try:
            self._commands.take(device, one, durable)
        except LogFull:
            part.waiting -= 1
            raise

    def _sum_up(self, group: GroupOrder) -> None:
        """Says what there is to be said of it now. Raises LogFull: it is not said."""
        key = group.key
        counts, open_yet = self._tallies.counts(key), self._commands.members[key]
        devices = sum(counts.values()) + open_yet
        if self._outcomes.last(key) is None:
            self._outcomes.say(key, group.order, Verdict("queued", devices=devices), lambda: None)
        if open_yet:
            return

        def durable() -> None:
            self._broker.put("group_orders", row_of_key(key), None)
            for (table, row), value in self._tallies.drop(key).items():
                self._broker.put(table, row, value)

        self._outcomes.say(key, group.order, summed_up(counts, cancelled=group.cancel), durable)
        del self._open[key]
