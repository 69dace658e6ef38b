"""The documents of all devices on this gateway, kept in step with the state lane.

A change is a DOCUMENT record in the state lane first; when that is durable, the cold store follows. So after a crash
the cold store may be behind the log, never ahead, and the log's tail makes up for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from bridge.config import State
from bridge.device_side.arrival import UNKNOWN, Arrival
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore
from bridge.device_side.desired import in_step, own_version
from bridge.device_side.documents import (
    DesiredState,
    Document,
    Labels,
    apply_desired,
    apply_labels,
    apply_reported,
    apply_whole,
    as_sent,
    depth,
    labels_of,
    reconciled,
    regrouped,
    without_desired,
    without_labels,
)
from bridge.device_side.group_states import GroupStates
from bridge.device_side.handshakes import Opened
from bridge.device_side.packed import Packed, decode_document, encode_document
from bridge.device_side.refused import encode_refused
from bridge.device_side.standpoint import Standpoint
from bridge.device_side.told import NAMES, devices_in, messages_of, messages_on, topic_of
from bridge.device_side.uplink import Lane
from bridge.groups import is_member
from bridge.log.errors import LogFull, RecordTooLarge
from bridge.log.record import (
    CLOCK_SYNCHRONISED,
    DOCUMENT,
    GATEWAYS,
    Record,
    decode_context,
    encode,
    encode_context,
)
from bridge.message import Message

_log = logging.getLogger(__name__)
_decode_patch = msgspec.json.Decoder(dict[str, object]).decode
POSITION_KEY = "state-position"
"""In the cold store's `meta`: LOG-ID:POSITION; documents in the state lane's records before it are in the store."""


class BadPatch(Exception):
    """A reported or desired state that is not a JSON object, or with which a document would grow past its bounds."""


class Devices:
    """Device id → document. Every change goes to Kafka by the state lane."""

    def __init__(
        self,
        settings: State,
        lane: Lane,
        cold: ColdStore,
        clock: Clock,
        *,
        log_id: bytes,
        gateway: str,
        epoch: int,
        kick: Callable[[], None],
        retain: Callable[[str, bytes], object],
        groups: GroupStates,
        roaming: bool = False,
        former: str | None = None,
        event_topic: str = "busbridge-events",
    ) -> None:
        """Args:
        settings: the state topic and its bounds.
        lane: where the documents' records go.
        cold: where they are kept between two starts.
        clock: for `at` and `since`.
        log_id: of the uplink log that the lane belongs to.
        gateway: this gateway's id.
        epoch: of this start of the daemon.
        kick: called after appends.
        retain: delivers (topic, payload) as a retained message; later the local broker asks `retained_on` for it.
        groups: what is desired of those.
        roaming: devices may come from other gateways; the bus side compares with what the topic has.
        former: this gateway's id before it was renamed.
        event_topic: hears of desired states that are refused.
        """
        self.lane = lane
        self._settings = settings
        self._cold = cold
        self._clock = clock
        self._log_id = log_id
        self._gateway = gateway
        self._standpoint = Standpoint(
            clock, gateway=gateway, epoch=epoch, lease_s=settings.lease, roaming=roaming, former=former
        )
        self._kick = kick
        self._retain = retain
        self.groups = groups
        self._event_topic = event_topic
        self._documents = Packed(cold.load("documents"))
        self._unwritten: dict[str, None] = {}
        self.watchers: set[Callable[[str], None]] = set()
        """Each is called with a device whose document is another from now on, or gone."""

    def __len__(self) -> int:
        return len(self._documents)

    def position_in_store(self, log_id: bytes) -> int:
        """Documents in the state lane's records before it are in the cold store; 1 where nothing is known."""
        log, _, position = (self._cold.get("meta", POSITION_KEY) or b"").decode().partition(":")
        return int(position) if log == log_id.hex() else 1

    def restore(self, tail: Iterable[Record]) -> None:
        """At start: takes over what the log has and the cold store has not.

        Those who were connected when the last daemon ended are not any more.
        """
        for record in tail:
            if record.kind == DOCUMENT and not decode_context(record.context)[0].startswith(GATEWAYS):
                document = decode_document(record.payload)
                self._documents.keep(document.device, record.payload)
                self._cold.put("documents", document.device, record.payload)
        for document in self._documents.online():
            if self._standpoint.is_ours(document):
                self.offline(document.device, "gateway-stopped", None)

    def tell_again(self, filters: Iterable[str]) -> None:
        """At start, behind `restore`: devices may have missed what they are told; `filters`: what sessions wait for."""
        told = {message.topic: message for each in filters for message in self.retained_on(each)}
        for message in told.values():
            self._retain(message.topic, message.payload)

    def retained_on(self, topic_filter: str) -> Iterator[Message]:
        """What devices are told on the topics that a filter matches."""
        return messages_on(topic_filter, self._documents.desired(devices_in(topic_filter)))

    def get(self, device: str) -> Document | None:
        return self._documents.get(device)

    @property
    def unwritten(self) -> int:
        """Documents that changed while the lane was full."""
        return len(self._unwritten)

    def written(self, device: str) -> bytes | None:
        """The document as it is kept; with its ground, which no reader of the topic gets."""
        return self._documents.written(device)

    def ids(self) -> list[str]:
        """Of all devices that have a document."""
        return list(self._documents)

    def is_here(self, device: str) -> bool:
        """Its last connection that is known was to this gateway."""
        document = self._documents.get(device)
        return document is not None and document.presence is not None and self._standpoint.is_ours(document)

    def has_member(self, group: str, device: str) -> bool:
        """A device of this gateway that is in the group."""
        document = self._documents.get(device)
        return document is not None and is_member(labels_of(document), group) and self.is_here(device)

    def online(self, device: str, arrival: Arrival = UNKNOWN, *, already: bool = False) -> None:
        """The device is connected; `already`: it was, and is now by one more connection."""
        document = self._standpoint.connected(self._document(device), arrival, already=already)
        after = self._regrouped(document)
        self._change(after)
        if after is not document:
            self._tell_new(document, after)

    def offline(self, device: str, reason: str, last_seen_ns: int | None) -> None:
        """The device went; `last_seen_ns` is wall clock, None: as the document says."""
        document = self._document(device)
        if not self._standpoint.is_ours(document):
            return  # a newer connection, to another gateway, is known already
        self._change(self._standpoint.offline(document, reason, last_seen_ns))

    def renew(self, epoch: int) -> None:
        """This is another epoch than it was taken for: what holds is said again."""
        self._standpoint.epoch = epoch
        for document in self._documents.online():
            if (renewed := self._standpoint.renewed(document)) is not None:
                self._change(renewed)

    def report(
        self, device: str, payload: bytes, done: Callable[[], None] | None, *, packet_id: int, effect: Opened | None
    ) -> None:
        """Merges a patch the device published (RFC 7386); `done` when the new document is durable.

        Raises:
            BadPatch: nothing was changed.
            LogFull: nothing was changed; once the lane takes more again the same patch may be reported again.
        """
        try:
            patch = _decode_patch(payload)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadPatch(f"not a JSON object: {error}") from error
        self._check_depth(patch)
        before = self._document(device)
        if not self._standpoint.is_ours(before):
            # Who speaks here is here, whatever another gateway says.
            before = self._standpoint.connected(before, UNKNOWN)
        document = apply_reported(before, patch, self._clock.instant())
        self._check_size(document)
        self._append(document, done, packet_id=packet_id, effect=effect)
        if document.delta != before.delta:
            self._tell_device(document, "delta")

    def told(self, device: str, values: dict[str, object]) -> None:
        """Some of what is reported of a device that is here has changed; null: it is gone. Raises as `born`."""
        before = self._document(device)
        if self._standpoint.is_online_here(before):
            state = {**(before.reported.state if before.reported is not None else {}), **values}
            self.born(device, {name: value for name, value in state.items() if value is not None})

    def born(self, device: str, state: dict[str, object] | None) -> None:
        """The device is here, and this is all that is reported of it (a birth of Sparkplug); None: what was stays.

        Raises:
            BadPatch: its reported state is as before, for the document would grow past its bounds.
        """
        before = self._document(device)
        here = self._standpoint.is_online_here(before)
        connected = before if here else self._standpoint.connected(before, UNKNOWN)
        document = connected if state is None else apply_whole(connected, state, self._clock.instant())
        try:
            self._check_depth(state or {})
            self._check_size(document)
        except BadPatch:
            if not here:
                self._change(connected)
            raise
        if document is not before:
            self._change(document)
        if document.delta != before.delta:
            self._tell_device(document, "delta")

    def desire(self, device: str, desired: DesiredState | None, done: Callable[[], None]) -> None:
        """Takes a desired state over, or with None its removal; `done` when that is durable.

        That of a device without a document is passed over, as its labels are: the bus side reads them when it comes.

        Raises:
            BadPatch, LogFull: as in `report`.
        """
        if desired is not None:
            self._check_depth(desired.state)
        before = self._documents.get(device)
        if before is None:
            done()
            return
        now, groups = self._clock.instant(), self.groups.of(labels_of(before))
        after = apply_desired(before, desired, now, groups) if desired else without_desired(before, now, groups)
        if after is None and desired is not None and desired.version < own_version(before.desired):
            self._tell_refused(before, desired.version, done)
            return
        if after is None or after == before:
            done()
            return
        self._check_size(after)
        self._append(after, done)
        self._tell_new(before, after)

    def _tell_refused(self, document: Document, version: int, done: Callable[[], None]) -> None:
        """An older desired state than the device has comes too late, and whoever sent it can know."""
        known = own_version(document.desired)
        names = {"gateway": self._gateway, "topic": self._event_topic}
        self.lane.append(encode_refused(document.device, version, known, clock=self._clock, **names), done)
        self._kick()

    def check_desired(self, desired: DesiredState) -> None:
        """Raises BadPatch: it is nested too deep, whoever it is for."""
        self._check_depth(desired.state)

    def regroup(self, device: str) -> None:
        """Brings what the device is told into step with what is desired of its groups.

        Raises:
            LogFull: nothing was changed.
        """
        before = self._documents.get(device)
        if before is None or not self._standpoint.is_ours(before):
            return  # it is when it comes
        after = self._regrouped(before)
        if after is not before:
            self._append(after, None)
            self._tell_new(before, after)

    def _regrouped(self, document: Document) -> Document:
        """Itself where there is nothing new, or what is new would make it too large."""
        groups = self.groups.of(labels_of(document))
        if in_step(document.desired, groups):
            return document
        after = regrouped(document, groups, self._clock.instant())
        try:
            self._check_size(after)
        except BadPatch as error:
            _log.warning("device=%s: what is desired of its groups is not taken over: %s", document.device, error)
            return document
        return after

    def label(self, device: str, labels: Labels | None, done: Callable[[], None]) -> None:
        """Takes a device's labels over, or with None their removal; `done` when that is durable.

        Raises:
            BadPatch, LogFull: as in `report`.
        """
        before = self._documents.get(device)
        if before is None:
            done()
            return
        after = without_labels(before) if labels is None else apply_labels(before, labels)
        if after is None or after == before:
            done()
            return
        self._check_size(after)
        after = self._regrouped(after)
        self._append(after, done)
        if after.desired is not before.desired:
            self._tell_new(before, after)

    def learn(self, device: str, payload: bytes | None, done: Callable[[], None]) -> None:
        """What the topic has of a device, where that is not what we said last; `done` when what follows is durable.

        `payload` None: the device was removed.

        Raises:
            LogFull, msgspec.DecodeError: nothing was changed.
        """
        own = self._documents.get(device)
        if payload is None:
            self._removed(device, own, done)
            return
        known = decode_document(payload)
        now = self._clock.instant()
        merged = reconciled(own or Document(device), known, self._gateway, self.groups.of, now)
        said = merged.presence
        if said is not None and said is known.presence and said.state != "offline" and self._standpoint.is_ours(merged):
            # A former life of ours said so, of which nothing is left here.
            merged.presence = self._standpoint.gone(said, "gateway-stopped", said.last_seen)
        if self._standpoint.is_ours(merged) and said is not None and as_sent(merged) != known:
            self._append(merged, done)
        else:
            self._keep(merged)
            done()
        self._tell_device(merged)

    def _removed(self, device: str, own: Document | None, done: Callable[[], None]) -> None:
        if own is not None and self._standpoint.is_online_here(own):
            self._append(own, done)  # it is there all the same
            return
        if self._documents.pop(device, None) is not None:
            self._cold.put("documents", device, None)
            self._forget(device)
            self._tell_watchers(device)
        done()

    def _hold(self, device: str, body: bytes) -> None:
        self._documents.keep(device, body)
        self._tell_watchers(device)

    def _tell_watchers(self, device: str) -> None:
        for tell in self.watchers:
            tell(device)

    def _keep(self, document: Document) -> None:
        """It is in the topic already."""
        body = encode_document(document)
        self._hold(document.device, body)
        self._cold.put("documents", document.device, body)

    def relieved(self) -> None:
        """The lane takes records again: documents that changed meanwhile are written."""
        waiting, self._unwritten = self._unwritten, {}
        for device in waiting:
            self._change(self._document(device))

    def _document(self, device: str) -> Document:
        return self._documents.get(device) or Document(device)

    def _change(self, document: Document) -> None:
        """Presence does not wait: with the lane full the document changes here and is written when there is room."""
        try:
            self._append(document, None)
        except LogFull:
            self._hold(document.device, encode_document(document))
            self._unwritten[document.device] = None
        except RecordTooLarge as error:
            _log.error("device=%s: its presence is not told: %s", document.device, error)

    def _append(
        self, document: Document, done: Callable[[], None] | None, *, packet_id: int = 0, effect: Opened | None = None
    ) -> None:
        body = encode_document(document)
        flags = CLOCK_SYNCHRONISED if self._clock.synchronised() else 0
        record = encode(
            DOCUMENT,
            flags | (2 if packet_id else 0),
            packet_id,
            self._clock.wall_ns(),
            self._clock.mono_ns(),
            encode_context(document.device, "", self._settings.topic),
            effect.headers if effect is not None else b"",
            body,
        )
        position = self.lane.writer.next_seq + 1

        def durable() -> None:
            self._cold.put("documents", document.device, body)
            self._cold.put("meta", POSITION_KEY, f"{self._log_id.hex()}:{position}".encode())
            if done is not None:
                done()

        self.lane.append(record, durable, effect)
        self._hold(document.device, body)
        self._kick()

    def _check_size(self, document: Document) -> None:
        if len(encode_document(document)) > self._settings.document_max_bytes:
            raise BadPatch(f"the document would be larger than {self._settings.document_max_bytes} bytes")

    def _check_depth(self, state: dict[str, object]) -> None:
        """What is nested deeper could be taken in and not be read again at the next start."""
        if depth(state) > self._settings.depth_max:
            raise BadPatch(f"nested deeper than {self._settings.depth_max} levels")

    def _forget(self, device: str) -> None:
        for name in NAMES:
            self._retain(topic_of(device, name), b"")

    def _tell_new(self, before: Document, after: Document) -> None:
        """Something else is desired than before."""
        if after.desired is not None:
            self._tell_device(after)
        elif before.desired is not None:
            self._forget(after.device)

    def _tell_device(self, document: Document, *names: Literal["desired", "delta"]) -> None:
        """`names`: of what is told only this."""
        for message in messages_of(document, names or NAMES):
            self._retain(message.topic, message.payload)
