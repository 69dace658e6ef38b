"""Way: what becomes of a session's messages on one topic. Found once, by the pipeline; after that it is a look-up."""

from __future__ import annotations

from bridge.device_side.handshakes import headers_of
from bridge.device_side.sparkplug_way import SparkplugWay
from bridge.device_side.uplink import Lane
from bridge.log.record import encode_headers
from bridge.mqtt.session_name import device_of
from bridge.schemas.schema import Schema
from bridge.security.envelope import Headers, Seals


class Way:
    """What becomes of one connection's messages on one topic."""

    __slots__ = (
        "account", "answers", "begins_trace", "context", "device", "headers", "lane", "listened", "misfit_said",
        "named", "pairs", "plain", "refuses", "reported", "schema", "seal_pairs", "sealer", "session", "sparkplug",
        "version",
    )  # fmt: skip

    def __init__(
        self, session: str, lane: Lane | None, context: bytes, sealer: Seals | None, *, reported: bool
    ) -> None:
        self.session = session
        self.device = device_of(session)
        self.lane = lane
        self.account = lane.waiting.account(self.device) if lane is not None else None
        """What waits in the lane for the device."""
        self.context = context
        self.sealer = sealer
        self.reported = reported
        """It is not for Kafka as it is, but for the device's document or command."""
        self.answers: str | None = None
        """The id of the command that is answered there."""
        self.named = headers_of(session)
        """Says in the record which session that was, where the device does not."""
        self.sparkplug: SparkplugWay | None = None
        """What it says is Sparkplug; then it is `reported`, too."""
        self.seal_pairs: Headers = ()
        self.pairs: Headers = self.named
        self.headers = encode_headers(self.named)
        """What stands in every record, as it is encoded."""
        self.begins_trace = False
        self.schema: Schema | None = None
        self.refuses = False
        self.misfit_said = False
        self.plain = False
        """Its records are what comes, with nothing to add, to change or to judge."""
        self.listened = False
        self.version = -1
