"""StateParts: what a gateway knows of its devices and says of itself: documents, its record, commands, the downlink.

They are there where a state topic is configured. The gateway's epoch is counted here, too, whether there is one or not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from importlib.metadata import version

import msgspec

from bridge.config import Config
from bridge.device_side.broker import Broker
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore
from bridge.device_side.command_parts import open_commands
from bridge.device_side.document_parts import open_devices, open_regrouping
from bridge.device_side.downlink import DownlinkReader
from bridge.device_side.gateway_record import GatewayRecord
from bridge.device_side.lane_tail import records_until
from bridge.device_side.uplink import Uplink
from bridge.log.queue_key import Keyring
from bridge.log.reader import LogReader, oldest_position
from bridge.security.acl import Acl

_log = logging.getLogger(__name__)
EPOCH_KEY = "epoch"


class _Life(msgspec.Struct):
    """Of a gateway's record in the state topic."""

    epoch: int = 0


class StateParts:
    """Made and wired together, restored, relieved and closed together."""

    def __init__(
        self,
        config: Config,
        uplink: Uplink,
        broker: Broker,
        cold: ColdStore,
        acl: Acl,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        log_id: bytes,
        keys: Keyring,
    ) -> None:
        """Counts the epoch. Args:
        uplink: its lanes are open.
        broker: tells devices.
        cold: keeps what the log need not be read for.
        acl: who may have commands.
        log_id: the uplink's.
        keys: open what is encrypted.
        """
        self._config = config
        self._cold = cold
        self._broker = broker
        self._log_id = log_id
        self._keys = keys
        self.epoch = self._next_epoch()
        """Which life of this gateway this is."""
        self.devices = open_devices(config, uplink, broker, cold, clock, log_id, self.epoch)
        """None: no state topic is configured; then there is nothing of what follows."""
        self.commands, self._group_commands = open_commands(
            config, self.devices, broker, cold, acl, clock, loop, log_id=log_id, kick=uplink.kick_soon
        )
        """None: no command topic is."""
        self._regrouping = open_regrouping(config, self.devices, cold, loop)
        self._record: GatewayRecord | None = None
        self._downlink: DownlinkReader | None = None
        if self.devices is not None:
            self._record = GatewayRecord(config, uplink, clock, epoch=self.epoch, version=version("busbridge"))
            self._downlink = DownlinkReader(
                config.gateway.data_dir / "downlink", self.devices, keys, on_gateway=self._outlive,
                regrouping=self._regrouping, commands=self.commands, group_commands=self._group_commands,
            )  # fmt: skip

    def restore(self) -> None:
        """Takes over documents and outcomes of records that the cold store does not have yet.

        The gateway's own record goes first: what its last life said of devices is not believed from then on.
        """
        if self.devices is None or self._record is None:
            return
        self._record.renew()
        lane = self.devices.lane
        directory = self._config.gateway.data_dir / "uplink" / lane.name
        position = max(self.devices.position_in_store(self._log_id), oldest_position(directory))
        committed = lane.writer.committed
        if self.commands is not None:
            self.commands.restore(records_until(committed, LogReader(directory, self._log_id, position, self._keys)))
        self.devices.restore(records_until(committed, LogReader(directory, self._log_id, position, self._keys)))
        self.devices.tell_again(self._broker.filters())
        for each in (self._regrouping, self._group_commands):
            if each is not None:
                each.restore()

    def works(self, on_saved: Callable[[], None]) -> Iterator[Coroutine[None, None, None]]:
        """What goes on until it is cancelled. `on_saved` is called when `downlink_forwarded` has risen."""
        if self._record is not None:
            yield self._record.keep()
        if self._downlink is not None:
            yield self._save_cursor(self._downlink, on_saved)

    @property
    def downlink_forwarded(self) -> int | None:
        """What lies before it in the downlink log is applied and durable; None: nothing is yet."""
        return (self._downlink.saved or None) if self._downlink is not None else None

    def advance(self, committed: int) -> None:
        """The downlink log is durable up to there."""
        if self._downlink is not None:
            self._downlink.advance(committed)

    def relieved(self) -> None:
        """The uplink may have room again: what waits for it goes on."""
        if self.devices is not None and not self.devices.lane.blocked:
            self.devices.relieved()
            for each in (self._regrouping, self.commands, self._group_commands):
                if each is not None:
                    each.look()
        if self._downlink is not None:
            self._downlink.pump()

    def release(self) -> None:
        """The gateway stops, and says so in its record."""
        if self._record is not None:
            self._record.release()

    def close(self) -> None:
        """Makes durable how far the downlink was applied."""
        if self._downlink is not None and self._downlink.unsaved:
            self._downlink.save()

    def _next_epoch(self) -> int:
        """One more than at the last start; on disk before anybody hears of it."""
        epoch = int(self._cold.get("meta", EPOCH_KEY) or b"0") + 1
        self._cold.write("meta", EPOCH_KEY, str(epoch).encode())
        return epoch

    def _outlive(self, former: bytes) -> None:
        """The topic has the record of a life of this gateway that its disk does not know: it is new, or an old copy."""
        epoch = msgspec.json.decode(former, type=_Life).epoch + 1
        if self._record is None or self.devices is None or epoch <= self.epoch:
            return
        _log.warning(
            "this gateway was in epoch %d before, which its disk does not know: going on as %d", epoch - 1, epoch
        )
        self.epoch = epoch
        self._cold.put("meta", EPOCH_KEY, str(epoch).encode())
        self._record.epoch = epoch
        self._record.renew()
        self.devices.renew(epoch)

    async def _save_cursor(self, downlink: DownlinkReader, on_saved: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(self._config.queue.cursor_interval)
            if downlink.unsaved:
                await asyncio.to_thread(downlink.save)
                on_saved()
