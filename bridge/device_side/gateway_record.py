"""The gateway's own record in the state topic: its epoch, how long its word holds, and what flows where.

It goes through the state lane as documents do, and so never overtakes one. While Kafka is away only one renewal waits
in the lane: those that would follow it say nothing that the first one after the outage does not say.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from bridge.config import Config, Route
from bridge.device_side.clock import Clock, rfc3339
from bridge.device_side.uplink import Uplink
from bridge.log.errors import LogFull, RecordTooLarge
from bridge.log.record import CLOCK_SYNCHRONISED, DOCUMENT, GATEWAYS, encode, encode_context

_log = logging.getLogger(__name__)
_LOOK_S = 0.5
_RENEWALS = 3
"""In the time of one lease: two may be late or lost."""


class GatewayRecord:
    """Of one start of the daemon."""

    def __init__(self, config: Config, uplink: Uplink, clock: Clock, *, epoch: int, version: str) -> None:
        """`config.state` is not None. `version`: of this program."""
        assert config.state is not None
        self.epoch = epoch
        self._state = config.state
        self._lane = uplink.lanes[config.state.lane]
        self._kick = uplink.kick_soon
        self._clock = clock
        self._key = GATEWAYS + config.gateway.id
        who = {"gateway": config.gateway.id, "version": version, "started": clock.instant()}
        self._body: dict[str, object] = who | _flows(config)
        self._position = 0
        """Behind the newest one in the lane."""
        self._renew_at_ns = 0

    async def keep(self) -> None:
        """Renews the lease in time. Runs until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        """Renews the lease if that is due and the last renewal has been forwarded."""
        if self._clock.mono_ns() >= self._renew_at_ns and self._lane.forwarded >= self._position:
            self.renew()

    def renew(self) -> None:
        """The lease runs anew, as soon as this is in Kafka."""
        if self._write(self._state.lease):
            self._renew_at_ns = self._clock.mono_ns() + int(self._state.lease / _RENEWALS * 1e9)

    def release(self) -> None:
        """The daemon ends: nobody has to wait for the lease."""
        self._write(0)

    def _write(self, lease_s: float) -> bool:
        """False: the lane is full."""
        now_ns = self._clock.wall_ns()
        times = {"at": rfc3339(now_ns), "lease_until": rfc3339(now_ns + int(lease_s * 1e9))}
        body = msgspec.json.encode(self._body | times | {"epoch": self.epoch})
        flags = CLOCK_SYNCHRONISED if self._clock.synchronised() else 0
        context = encode_context(self._key, "", self._state.topic)
        try:
            self._lane.append(encode(DOCUMENT, flags, 0, now_ns, self._clock.mono_ns(), context, b"", body))
        except LogFull:
            return False
        except RecordTooLarge as error:
            _log.error("the gateway's own record is not told: %s", error)
        self._position = self._lane.writer.next_seq
        self._kick()
        return True


def _flows(config: Config) -> dict[str, object]:
    """What a reader of the bus finds where."""
    kafka, state, downlink = config.kafka, config.state, config.downlink
    topics = {
        "state": state.topic if state is not None else None,
        "events": kafka.event_topic if kafka is not None else None,
        "dead_letters": (kafka.dead_letter_topic or None) if kafka is not None else None,
        "desired": downlink.desired_topic,
        "commands": downlink.command_topic,
        "outcomes": downlink.outcome_topic if downlink.command_topic is not None else None,
    }
    delivery = kafka.delivery if kafka is not None else None
    return {"delivery": delivery, "routes": [_route(route) for route in config.routes], "topics": topics}


def _route(route: Route) -> dict[str, object]:
    return {
        "filter": route.filter,
        "topic": route.topic,
        "lane": route.lane,
        "key": route.key,
        "partition": route.partition,
        "format": route.format,
        "event_type": route.cloudevents.type if route.format == "cloudevents" else None,
        "seal": route.seal,
        "recipients": route.recipients,
        "schema": _schema(route),
        "sparkplug": None if route.sparkplug is None else "json" if route.sparkplug.json else "payload",
    }


def _schema(route: Route) -> dict[str, str | None] | None:
    """What kind of payloads these are, where the route says so."""
    schema = route.schema
    if schema is None:
        return None
    if schema.registry is not None:
        return {"kind": "registry", "subject": schema.subject}
    return {"kind": "json" if schema.json else "avro" if schema.avro else "protobuf", "message": schema.message}
