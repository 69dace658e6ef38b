"""Commands as Kafka carries them, ready for the downlink log. Pure.

Only a record without a usable key is refused here: nobody could be told what became of it but the device it names.
"""

from __future__ import annotations

from bridge import orders
from bridge.bus_side.desired import device_of
from bridge.log.record import COMMAND, encode, encode_context


def encode_command(
    key: bytes | None, value: bytes | None, partition: int, offset: int, wall_ns: int, max_bytes: int
) -> bytes:
    """The downlink record for one Kafka record.

    Raises:
        NotDesired: its key is no device id.
    """
    order = orders.read(value, f"{partition}:{offset}", max_bytes)
    return encode(COMMAND, 0, 0, wall_ns, 0, encode_context(device_of(key), "", ""), b"", orders.encode(order))
