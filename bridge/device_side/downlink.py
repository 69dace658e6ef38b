"""What the bus side wrote for devices: read from the downlink log, applied to documents, and only then given up.

The cursor moves when the state lane has made the change durable, so a crash in between applies a record again, which
its version makes harmless.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from bridge import orders
from bridge.device_side.commands import Commands
from bridge.device_side.devices import BadPatch, Devices
from bridge.device_side.documents import DesiredState, Labels
from bridge.device_side.group_commands import GroupCommands
from bridge.device_side.regrouping import Regrouping
from bridge.groups import GROUPS
from bridge.log.cursor import Cursor
from bridge.log.errors import LogDamaged, LogFull, RecordTooLarge
from bridge.log.log_id import load_log_id
from bridge.log.queue_key import Keyring
from bridge.log.reader import LogReader
from bridge.log.record import COMMAND, DESIRED, GATEWAYS, KNOWN, LABELS, TOMBSTONE, Record, decode_context
from bridge.orders import Order

_log = logging.getLogger(__name__)
_READ_RECORDS, _READ_BYTES = 256, 1 << 20
_decode_desired = msgspec.json.Decoder(DesiredState).decode
_decode_labels = msgspec.json.Decoder(Labels).decode


class DownlinkReader:
    """The device side's end of the downlink log."""

    def __init__(
        self,
        directory: Path,
        devices: Devices,
        keys: Keyring | None = None,
        *,
        on_gateway: Callable[[bytes], None] | None = None,
        regrouping: Regrouping | None = None,
        commands: Commands | None = None,
        group_commands: GroupCommands | None = None,
    ) -> None:
        """Args:
        directory: of the downlink log; the bus side makes it.
        devices: takes what is desired, and what the state topic has.
        keys: open what is encrypted.
        on_gateway: takes what the state topic has of this gateway itself, from a life that it does not remember.
        regrouping: takes what is desired of groups; None: it is passed over.
        commands: takes commands; None: they are passed over.
        group_commands: takes those to groups; None likewise.
        """
        self._on_gateway = on_gateway
        self._directory = directory
        self._devices = devices
        self._commands = commands
        self._group_commands = group_commands
        self._regrouping = regrouping
        self._keys = keys
        self._reader: LogReader | None = None
        self._log_id = b""
        self._committed = 0
        self._waiting: deque[Record] = deque()
        self._applying: deque[int] = deque()
        self._done: set[int] = set()
        self.position = 0
        """Everything before it is applied and durable; 0: nothing was read yet."""
        self.saved = 0
        """As of the cursor file."""

    def advance(self, committed: int) -> None:
        """The bus side says that records before `committed` are durable."""
        self._committed = max(committed, self._committed)
        self.pump()

    def pump(self) -> None:
        """Applies what is there, as far as the state lane takes it; to be called again when that has room."""
        while not self._devices.lane.blocked:
            if not self._waiting and not self._read():
                return
            if not self._apply(self._waiting[0]):
                return
            self._waiting.popleft()

    def save(self) -> None:
        """Writes the cursor (blocks for an fsync; for a thread)."""
        position = self.position
        Cursor.save(self._directory, self._log_id, position)
        self.saved = position

    @property
    def unsaved(self) -> bool:
        """The cursor file is behind."""
        return self.position != self.saved

    def _read(self) -> bool:
        reader = self._reader or self._open()
        if reader is None:
            return False
        try:
            self._waiting.extend(reader.read(self._committed, _READ_RECORDS, _READ_BYTES))
        except LogDamaged as error:
            _log.error("%s; going on behind the damage", error)
            reader.skip_damage(self._committed)
        return bool(self._waiting)

    def _open(self) -> LogReader | None:
        """None where there is no log yet: only the bus side, which writes it, makes it."""
        log_id = load_log_id(self._directory)
        if log_id is None:
            return None
        self._log_id = log_id
        cursor = Cursor.load(self._directory)
        start = cursor.position if cursor is not None and cursor.log_id == self._log_id else 1
        self.position = self.saved = start
        self._reader = LogReader(self._directory, self._log_id, start, self._keys)
        return self._reader

    def _apply(self, record: Record) -> bool:
        """False: the state lane has no room, and nothing was applied."""
        self._applying.append(record.seq)
        done = self._completion(record.seq)
        device, _, _ = decode_context(record.context)
        try:
            self._hand_over(record, device, done)
        except LogFull:
            self._applying.pop()
            return False
        except (msgspec.DecodeError, RecursionError, BadPatch, RecordTooLarge) as error:
            _log.warning("skipped downlink record %s for device=%s: %s", record.seq, device, error)
            done()
        return True

    def _hand_over(self, record: Record, device: str, done: Callable[[], None]) -> None:
        if record.kind == DESIRED:
            self._desire(device, None if record.flags & TOMBSTONE else _decode_desired(record.payload), done)
        elif record.kind == LABELS:
            self._devices.label(device, None if record.flags & TOMBSTONE else _decode_labels(record.payload), done)
        elif record.kind == KNOWN:
            self._learn(device, record, done)
        elif record.kind == COMMAND:
            self._command(device, orders.decode(record.payload), done)
        else:
            done()

    def _desire(self, name: str, desired: DesiredState | None, done: Callable[[], None]) -> None:
        """Raises as `Devices.desire`."""
        if not name.startswith(GROUPS):
            self._devices.desire(name, desired, done)
        elif self._regrouping is not None:
            self._regrouping.take(name.removeprefix(GROUPS), desired, done)
        else:
            done()

    def _command(self, name: str, order: Order, done: Callable[[], None]) -> None:
        """Raises as `Commands.take`."""
        if name.startswith(GROUPS) and self._group_commands is not None:
            self._group_commands.take(name.removeprefix(GROUPS), order, done)
        elif self._commands is not None:
            self._commands.take(name, order, done)
        else:
            done()

    def _learn(self, device: str, record: Record, done: Callable[[], None]) -> None:
        """Raises as `Devices.learn`."""
        if not device.startswith(GATEWAYS):
            self._devices.learn(device, None if record.flags & TOMBSTONE else record.payload, done)
            return
        if self._on_gateway is not None:
            self._on_gateway(record.payload)
        done()

    def _completion(self, seq: int) -> Callable[[], None]:
        def done() -> None:
            self._done.add(seq)
            while self._applying and self._applying[0] in self._done:
                finished = self._applying.popleft()
                self._done.discard(finished)
                self.position = finished + 1

        return done
