"""Commands: taken from the downlink, kept while their device sleeps, sent, and over when one final outcome is said.

What is to be done stands in the cold store's `commands`, in one commit with the session's messages, so that a kill
never leaves a command that is both in a session and still to be sent. What was said is `Outcomes`' business.

A device whose session ends with its connection may get a command again that it has acknowledged, if the gateway is
killed before it has written that down: whoever needs exactly once keeps the session, and uses QoS 2.
"""

from __future__ import annotations

import heapq
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from bridge.config import Downlink
from bridge.device_side.broker import Broker, Client
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore
from bridge.device_side.command import (
    Command,
    Stage,
    Verdict,
    answered,
    cancelled,
    judged,
    late,
    message_of,
    ready,
    topic_of,
)
from bridge.device_side.handshakes import Opened
from bridge.device_side.outcomes import Outcomes
from bridge.device_side.tallies import Key, row_of_key
from bridge.device_side.uplink import Lane
from bridge.groups import GROUPS
from bridge.log.errors import LogFull
from bridge.log.record import Record
from bridge.mqtt.session_state import Outgoing
from bridge.orders import Order, deadline_ns
from bridge.security.acl import Acl

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Command).decode
_NS = 1_000_000_000
_HEAP_SLACK = 1000


class Commands:
    """Device → its commands that are not over, oldest first."""

    def __init__(
        self,
        settings: Downlink,
        outcomes: Outcomes,
        broker: Broker,
        cold: ColdStore,
        acl: Acl,
        clock: Clock,
        *,
        knows: Callable[[str], bool],
        now: Callable[[], float],
        soon: Callable[[Callable[[], object]], object],
    ) -> None:
        """Args:
        settings: bounds, and what becomes of commands that others may be meant with.
        outcomes: what is said.
        broker: sends them.
        cold: where they are kept.
        acl: who may subscribe to what.
        clock: judges deadlines.
        knows: whether a device was ever here.
        now: the loop's clock, seconds.
        soon: the loop's `call_soon`.
        """
        self._settings = settings
        self.outcomes = outcomes
        """What was said."""
        self._broker = broker
        self._cold = cold
        self._acl = acl
        self._clock = clock
        self._knows = knows
        self._now = now
        self._soon = soon
        self._devices: dict[str, dict[str, Command]] = {}
        self.members: Counter[Key] = Counter()
        """Devices that are not done with a command to a group yet, by `group/NAME` and id."""
        self._items: dict[Key, Outgoing] = {}
        """Of those that are in a session."""
        self._deadlines: list[tuple[int, int, Key]] = []
        self._undated: dict[Key, None] = {}
        self._unsaid: dict[Key, Verdict] = {}
        """What the lane had no room for."""
        self._again: set[str] = set()
        """Devices whose session had no room."""
        self._to_send: set[str] = set()
        self._last_number = 0

    @property
    def lane(self) -> Lane:
        """Where outcomes go."""
        return self.outcomes.lane

    def __len__(self) -> int:
        return sum(map(len, self._devices.values()))

    def restore(self, tail: Iterable[Record]) -> None:
        """At start, when the broker has its sessions; `tail`: see `Outcomes.restore`."""
        self.outcomes.restore(tail)
        in_session = dict(self._in_sessions())
        rows = [(_decode(value), row) for row, value in self._cold.load("commands")]
        for command, row in sorted(rows, key=lambda each: each[0].number):
            self._last_number = max(self._last_number, command.number)
            if self.outcomes.over(command.key):
                self._cold.put("commands", row, None)
                continue
            if self.outcomes.last(command.key) == "delivered" and command.stage is not Stage.HAD:
                command.stage = Stage.HAD  # the store was behind; what is in the session is not repeated
                self._keep(command)
            item = in_session.get(command.key) if command.stage is Stage.SENT else None
            if item is not None and self._goes_on(command, item):
                self._watch(command, in_session.pop(command.key))
            elif command.stage is Stage.SENT:
                command.stage = Stage.WAITING
            self._add(command)
            self._tell(command)
        for (device, _), item in in_session.items():
            self._withdraw(device, item)

    def _goes_on(self, command: Command, item: Outgoing) -> bool:
        """Not what was never sent, and may be late by now: without the time nobody knows."""
        return bool(item.packet_id) or command.order.deadline is None or self._clock_is_right

    def having(self, group: Key) -> list[str]:
        """Devices that are not done with a command to a group yet; `group` as in `members`."""
        name, command_id = group[0].removeprefix(GROUPS), group[1]
        return [
            device
            for device, commands in self._devices.items()
            if command_id in commands and commands[command_id].order.group == name
        ]

    def take(self, device: str, order: Order, done: Callable[[], object]) -> None:
        """Takes an order in; `done` when that is durable. One that was here before changes nothing.

        Raises:
            LogFull: the state lane has no room; nothing was done.
        """
        key = (device, order.key)
        if self.outcomes.over(key):
            self.outcomes.when_durable(key, done)
            return
        if not self._concerns(device):
            done()
            return
        known = self._devices.get(device, {}).get(order.id)
        refusal = self._refusal(device, order)
        if known is not None and not order.fault:
            if order.cancel:
                self._finish(known, cancelled(known), done)
            else:
                self._broker.when_kept(done)
        elif order.cancel and not order.fault:
            _log.info("command device=%s id=%s: there is nothing to take back", device, order.id)
            done()
        elif known is not None:
            _log.warning("command device=%s id=%s: ignored, it comes again and %s", device, order.id, order.fault)
            done()
        elif refusal is not None:
            self.outcomes.say(key, order, refusal, done)
        else:
            self._accept(device, order, done)

    def result(
        self,
        device: str,
        command_id: str,
        payload: bytes,
        done: Callable[[], object],
        *,
        packet_id: int,
        effect: Opened | None,
    ) -> bool:
        """The device's answer; `done` when it is durable. False: nothing waits for one.

        Raises:
            LogFull, RecordTooLarge: nothing was done.
        """
        command = self._devices.get(device, {}).get(command_id)
        if command is None:
            return False
        self._finish(
            command, answered(payload, self._settings.answer_max_bytes), done, packet_id=packet_id, effect=effect
        )
        return True

    def send(self, device: str) -> None:
        """The device has come, or has subscribed to something."""
        if device in self._devices:
            self._send_soon(device)

    def look(self) -> None:
        """To be called several times a second: what is late expires, what found no room is tried again."""
        for key, verdict in list(self._unsaid.items()):
            self._say_again(key, verdict)
        again, self._again = self._again, set()
        for device in again:
            self._send_soon(device)
        if not self._clock_is_right:
            return
        now_ns = self._clock.wall_ns()
        for key in list(self._undated):
            self._date(key, now_ns)
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            command = self._find(self._deadlines[0][2])
            if command is not None and command.number == self._deadlines[0][1] and not self._expire(command):
                return
            heapq.heappop(self._deadlines)

    @property
    def _clock_is_right(self) -> bool:
        return self._settings.unsynchronised_clock == "trust" or self._clock.synchronised()

    def _concerns(self, device: str) -> bool:
        return self._settings.unknown_devices != "ignore" or self._knows(device)

    def _refusal(self, device: str, order: Order) -> Verdict | None:
        if order.fault:
            return Verdict("refused", order.fault)
        if self._settings.unknown_devices == "refuse" and not self._knows(device):
            return Verdict("refused", "the device was never here")
        if not self._acl.may_subscribe(device, topic_of(device, order.id)):
            return Verdict("refused", "the device may not subscribe to the command's topic")
        if len(self._devices.get(device, ())) >= self._settings.commands_waiting:
            return Verdict("refused", f"{self._settings.commands_waiting} commands wait for the device already")
        if order.deadline is not None and self._clock_is_right and deadline_ns(order.deadline) <= self._clock.wall_ns():
            return Verdict("expired", "its deadline was over when it came")
        return None

    def _accept(self, device: str, order: Order, done: Callable[[], object]) -> None:
        last = self.outcomes.last((device, order.id))  # not None: the log had it, and the store had not
        if last is None:
            self.outcomes.say((device, order.id), order, Verdict("queued"), lambda: None)
        self._last_number += 1
        deadline = deadline_ns(order.deadline) if order.deadline is not None else None
        stage = Stage.HAD if last == "delivered" else Stage.WAITING
        command = Command(device, order, self._last_number, deadline, stage)
        self._add(command)
        if self._clock_is_right:
            self._date(command.key, self._clock.wall_ns())
        self._keep(command)
        self._broker.when_kept(done)
        self._send_soon(device)

    def _add(self, command: Command) -> None:
        self._devices.setdefault(command.device, {})[command.order.id] = command
        if command.order.group:
            self.members[GROUPS + command.order.group, command.order.id] += 1
        if command.deadline_ns is None:
            self._undated[command.key] = None
        else:
            self._watch_deadline(command, command.deadline_ns)
        if command.stage is Stage.WAITING:
            self._send_soon(command.device)

    def _date(self, key: Key, now_ns: int) -> None:
        """One without a deadline has the gateway's, once that can be known."""
        if key not in self._undated:
            return
        del self._undated[key]
        command = self._find(key)
        if command is not None:
            command.deadline_ns = now_ns + int(self._settings.command_deadline * _NS)
            self._watch_deadline(command, command.deadline_ns)
            self._keep(command)

    def _watch_deadline(self, command: Command, deadline: int) -> None:
        if len(self._deadlines) > 2 * len(self) + _HEAP_SLACK:
            self._deadlines = [each for each in self._deadlines if self._find(each[2]) is not None]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (deadline, command.number, command.key))

    def _find(self, key: Key) -> Command | None:
        return self._devices.get(key[0], {}).get(key[1])

    def _keep(self, command: Command) -> None:
        self._broker.put("commands", row_of_key(command.key), _encode(command))

    # Sending.

    def _send_soon(self, device: str) -> None:
        """Never at once: what calls may be in the middle of the session's own business."""
        if not self._to_send:
            self._soon(self._send_all)
        self._to_send.add(device)

    def _send_all(self) -> None:
        devices, self._to_send = self._to_send, set()
        for device in devices:
            there = [client for client in self._broker.sessions_of(device) if client.connection is not None]
            if there:
                self._send_ready(there, self._devices.get(device, {}).values())

    def _send_ready(self, there: Sequence[Client], commands: Iterable[Command]) -> None:
        most = self._settings.commands_under_way
        for command in ready(commands, most, clock_is_right=self._clock_is_right):
            if command.key not in self._unsaid and not self._send(there, command):
                return

    def _send(self, there: Sequence[Client], command: Command) -> bool:
        """By the first of the device's sessions that has subscribed to it. False: none takes any more now."""
        expires, deadline = None, command.deadline_ns
        if deadline is not None and command.order.deadline is not None:
            left_ns = deadline - self._clock.wall_ns()
            if left_ns <= 0:
                return True
            expires = self._now() + left_ns / _NS
        message, item = message_of(command), None
        for client in there:
            item = self._broker.offer(client, message, expires, lambda item: self._moved(command, item))
            if item is not None:
                break
        if item is None:
            return False
        if item.over:
            self._again.add(command.device)
            return False
        command.stage = Stage.SENT
        self._items[command.key] = item
        self._keep(command)
        if item.answer >= 0:
            self._moved(command, item)
        return True

    def _watch(self, command: Command, item: Outgoing) -> None:
        item.strict, item.watcher = True, lambda item: self._moved(command, item)
        self._items[command.key] = item

    def _moved(self, command: Command, item: Outgoing) -> None:
        """The device has answered the message, or the message is lost with the session or for want of room."""
        if self._find(command.key) is not command or command.stage is Stage.HAD:
            return
        self._items.pop(command.key, None)
        verdict = judged(item, command.order)
        if 0 <= item.answer < 0x80:
            command.stage = Stage.HAD
        elif verdict is None:
            command.stage = Stage.WAITING
            self._again.add(command.device)
        self._keep(command)
        if verdict is not None:
            self._decide(command, verdict)
        elif command.stage is Stage.HAD:
            self._tell(command)
        self._send_soon(command.device)

    # What is said.

    def _tell(self, command: Command) -> None:
        """What may not have been said yet of a command that the device has."""
        if command.stage is not Stage.HAD:
            return
        if not command.order.response:
            self._decide(command, Verdict("succeeded"))
        elif self.outcomes.last(command.key) != "delivered":
            self._decide(command, Verdict("delivered"))

    def _decide(self, command: Command, verdict: Verdict) -> None:
        """Says it, now or when the lane has room."""
        try:
            if verdict.word == "delivered":
                self.outcomes.say(command.key, command.order, verdict, lambda: None)
            else:
                self._finish(command, verdict, lambda: None)
        except LogFull:
            self._unsaid[command.key] = verdict

    def _say_again(self, key: Key, verdict: Verdict) -> None:
        del self._unsaid[key]
        command = self._find(key)
        if command is not None:
            self._decide(command, verdict)

    def _expire(self, command: Command) -> bool:
        """False: the lane has no room, and it is to be tried again."""
        try:
            self._finish(command, late(command), lambda: None)
        except LogFull:
            return False
        return True

    def _finish(
        self,
        command: Command,
        verdict: Verdict,
        done: Callable[[], object],
        *,
        packet_id: int = 0,
        effect: Opened | None = None,
    ) -> None:
        """The one place where a command ends. Raises LogFull, RecordTooLarge: it has not."""
        key = command.key

        def durable() -> None:
            self._broker.put("commands", row_of_key(key), None)
            done()

        self.outcomes.say(key, command.order, verdict, durable, packet_id=packet_id, effect=effect)
        self._unsaid.pop(key, None)
        self._undated.pop(key, None)
        commands = self._devices[command.device]
        del commands[command.order.id]
        if command.order.group:
            self.members[GROUPS + command.order.group, command.order.id] -= 1
        if not commands:
            del self._devices[command.device]
        item = self._items.pop(key, None)
        if item is not None:
            self._withdraw(command.device, item)
        self._send_soon(command.device)

    def _withdraw(self, device: str, item: Outgoing) -> None:
        """Of a command that is over: it is not sent any more, and not repeated where it was."""
        if not any(client.state.withdraw(item) for client in self._broker.sessions_of(device)):
            item.expires = self._now()

    def _in_sessions(self) -> Iterator[tuple[Key, Outgoing]]:
        """At start: the messages in sessions that are commands."""
        for client in self._broker.clients.values():
            device, prefix = client.device, topic_of(client.device, "")
            for item in (*client.state.in_flight.values(), *client.state.queue):
                name = item.message.topic.removeprefix(prefix)
                if name != item.message.topic and "/" not in name:
                    item.strict = True
                    yield (device, name), item
