"""The open QoS 2 exchanges of all sessions, and in which lane's log each began: there it must end.

An exchange ends with its PUBREL, or with the session it belongs to. Each end is a record, because after a crash an
exchange that only seems open would make a new message with its packet identifier pass for a repetition, and be lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bridge.config import Limits
from bridge.device_side.connection import Connection
from bridge.device_side.exchange_room import ExchangeRoom
from bridge.device_side.handshakes import Opened, Released, Reset, headers_of
from bridge.device_side.kept_exchanges import KeptExchanges
from bridge.device_side.uplink import Lane, Token, Uplink
from bridge.log.record import RELEASE, RESET, encode, encode_context, encode_headers
from bridge.mqtt.session_name import device_of


class TooManyExchanges(Exception):
    """The device leaves more QoS 2 exchanges open than the queue's segments can carry on (`limits.exchanges`)."""


class ExchangesFull(Exception):
    """The device has to wait until other devices end some of theirs: see `Exchanges.room`."""


class Exchanges:
    """Session → packet identifier → lane."""

    def __init__(self, uplink: Uplink, kept: KeptExchanges, limits: Limits) -> None:
        """Takes up what the lanes' logs say is open; `kept`: what ends in the store too."""
        lanes = uplink.lanes.values()
        fitting = min((lane.writer.max_record_bytes // 2 for lane in lanes), default=limits.exchanges_bytes)
        refuse_after_s = max((lane.waiting.refuse_after_s for lane in lanes), default=0.0)
        self.room = ExchangeRoom(min(limits.exchanges_bytes, fitting), refuse_after_s)
        """What all open exchanges take; in the way of new ones when it is used up."""
        self._uplink = uplink
        self._kept = kept
        self._limit = limits.exchanges
        self._open: dict[str, dict[int, Lane]] = {}
        for lane in uplink.lanes.values():
            for session, ids in lane.handshakes_at_start.items():
                for packet_id in ids:
                    self.opened(Opened(session, packet_id), lane)

    def by_session(self) -> dict[str, set[int]]:
        """Packet identifiers whose PUBREL has not come."""
        return {session: set(lanes) for session, lanes in self._open.items()}

    def opening(self, session: str, packet_id: int) -> Opened:
        """What the PUBLISH record is to be appended with; `opened` is to follow.

        Raises:
            TooManyExchanges: the device has to end some first.
            ExchangesFull: others have to.
        """
        count = len(self._open.get(session, ()))
        if count >= self._limit:
            raise TooManyExchanges(f"{self._limit} QoS 2 messages wait for its PUBREL already")
        if self.room.blocked:
            if count:  # to hold it up would hold up the PUBREL that is behind
                raise TooManyExchanges("it and other devices have as many QoS 2 messages open as there is room for")
            raise ExchangesFull
        return Opened(session, packet_id)

    def opened(self, effect: Opened, lane: Lane) -> None:
        """The record was appended to `lane`."""
        lanes = self._open.setdefault(effect.session, {})
        if effect.packet_id not in lanes:
            self.room.opened(effect.session, first=not lanes)
        lanes[effect.packet_id] = lane

    def released(self, connection: Connection, packet_id: int) -> bool:
        """PUBREL: PUBCOMP follows when that is durable. False: the lane takes nothing now, offer it again."""
        assert connection.client is not None
        session = connection.client.name
        lanes = self._open.get(session, {})
        lane = lanes.get(packet_id)
        if lane is not None and lane.blocked:
            connection.waits_for = lane
            return False
        told = self._kept.is_told(session, packet_id)
        done = _after(told + (lane is not None), lambda: connection.complete(packet_id))
        if told:
            self._kept.ended(session, packet_id, done)
        if lane is not None:
            del lanes[packet_id]
            self.room.ended(session, 1, last=not lanes)
            if not lanes:
                del self._open[session]
            self._append(lane, RELEASE, packet_id, done, Released(session, packet_id))
        return True

    def can_reset(self, session: str) -> bool:
        """Whether the lanes in which the session has exchanges take records now."""
        return not any(lane.blocked for lane in self._open.get(session, {}).values())

    def reset(self, session: str, done: Callable[[], None]) -> None:
        """The session is over: its exchanges end; `done` when that is durable. Needs `can_reset`."""
        opened = self._open.pop(session, {})
        if opened:
            self.room.ended(session, len(opened), last=True)
        lanes = {lane.name: lane for lane in opened.values()}
        one_done = _after(len(lanes), done)
        for lane in lanes.values():
            self._append(lane, RESET, 0, one_done, Reset(session))

    def abandon(self, session: str) -> None:
        """The session is over and nobody waits: as `reset`; a full lane leaves it to the next one of that name."""
        if self.can_reset(session):
            self.reset(session, lambda: None)

    def _append(self, lane: Lane, kind: int, packet_id: int, token: Token, effect: Released | Reset) -> None:
        """A record that is about exchanges only and is not forwarded."""
        context, headers = encode_context(device_of(effect.session), "", ""), encode_headers(headers_of(effect.session))
        record = encode(kind, 0, packet_id, time.time_ns(), time.monotonic_ns(), context, headers, b"")
        lane.append(record, token, effect)
        self._uplink.kick_soon()


def _after(count: int, done: Callable[[], None]) -> Callable[[], None]:
    """What is to be called `count` times for `done` to be called; none: that is now."""
    left = count
    if not left:
        done()

    def one_done() -> None:
        nonlocal left
        left -= 1
        if not left:
            done()

    return one_done
