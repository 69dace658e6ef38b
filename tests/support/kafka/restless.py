"""A fleet that connects, reports, moves and drops at random, and keeps what is true of each device."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import struct
from collections.abc import Awaitable, Callable, Sequence

_PATIENCE_S = 30.0
_AT_ONCE = 50


class Restless:
    """One device (MQTT 3.1.1 by hand: hundreds of them are to fit into one loop)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port: int | None = None
        """Of the gateway that it is connected to; None: it is away."""
        self.reported = 0
        """The last number that was acknowledged."""
        self.said = 0
        """The last that was sent: one more than that, where the answer did not come."""
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self, port: int) -> None:
        """To that gateway, and a report at once; a connection that there is breaks first."""
        self.drop()
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        body = b"\x00\x04MQTT\x04\x02\x00\x3c" + _text(self.name)
        self._writer.write(bytes((0x10, len(body))) + body)
        assert (await self._packet())[3] == 0, "CONNACK"
        self.port = port
        await self.report()

    async def report(self) -> None:
        """One number more, acknowledged."""
        assert self._writer is not None
        self.said = self.reported + 1
        payload = json.dumps({"n": self.said, "last": {"port": self.port}}).encode()
        body = _text(f"devices/{self.name}/state/reported") + b"\x00\x01" + payload
        self._writer.write(bytes((0x32,)) + _length(len(body)) + body)
        assert (await self._packet())[0] == 0x40, "PUBACK"
        self.reported = self.said

    def leave(self) -> None:
        """With good manners."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.write(b"\xe0\x00")
        self._end()

    def drop(self) -> None:
        """Without."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._end()

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = self.port = None

    async def _packet(self) -> bytes:
        """CONNACK or PUBACK, both of four bytes."""
        assert self._reader is not None
        return await asyncio.wait_for(self._reader.readexactly(4), _PATIENCE_S)


class Fleet:
    """Of `count` devices that know the ports of some gateways."""

    def __init__(self, count: int, seed: int) -> None:
        self.devices = [Restless(f"dev-{number:05d}") for number in range(count)]
        self._random = random.Random(seed)

    async def stir(
        self, ports: Sequence[int], share: float, midway: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """A share of the devices does something: comes to one of these, or reports, leaves, drops.

        `midway`: happens while half of them are done; from then on nobody is surprised by a connection that breaks.
        """
        chosen = self._some(share)
        parts = [chosen[at : at + _AT_ONCE] for at in range(0, len(chosen), _AT_ONCE)]
        for number, part in enumerate(parts):
            acts = [self._act(device, ports) for device in part]
            if midway is None or number < len(parts) // 2:
                await asyncio.gather(*acts)
            elif number == len(parts) // 2:
                await asyncio.gather(midway(), *(self._try(act, each) for act, each in zip(acts, part, strict=True)))
            else:
                await asyncio.gather(*(self._try(act, each) for act, each in zip(acts, part, strict=True)))

    async def bounce(self, ports: Sequence[int], share: float, times: int) -> None:
        """A share of the devices goes from one of these to the next and on, and reports everywhere."""
        chosen = self._some(share)
        for number in range(times):
            for some in (chosen[at : at + _AT_ONCE] for at in range(0, len(chosen), _AT_ONCE)):
                await asyncio.gather(*(each.connect(ports[number % len(ports)]) for each in some))

    def lose(self, port: int) -> None:
        """That gateway was killed."""
        for device in self.devices:
            if device.port == port:
                device.drop()

    def _some(self, share: float) -> list[Restless]:
        return self._random.sample(self.devices, int(len(self.devices) * share))

    @staticmethod
    async def _try(act: Awaitable[None], device: Restless) -> None:
        try:
            await act
        except (OSError, asyncio.IncompleteReadError):
            device.drop()

    async def _act(self, device: Restless, ports: Sequence[int]) -> None:
        deed = self._random.random()
        if device.port not in ports:
            await device.connect(self._random.choice(ports))
        elif deed < 0.4:
            await device.report()
        elif deed < 0.7:
            device.leave()
        else:
            device.drop()


def _text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


def _length(value: int) -> bytes:
    """MQTT §2.2.3; these packets are short of 16,384 bytes."""
    return bytes((value,)) if value < 128 else bytes((value & 0x7F | 0x80, value >> 7))
