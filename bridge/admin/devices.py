"""The devices' pages: documents as this gateway has them, listed and watched, and what is desired and commanded.

Nothing here takes long in one go: between fifty devices everybody else has his turn.
"""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec

from bridge.admin.http import JSON, Answer, Page, Request
from bridge.belief import Belief
from bridge.config import Admin
from bridge.groups import BadLabels, check_group
from bridge.row import Asked, Row, with_belief

LINES = "application/x-ndjson"
"""JSON, a document a line."""
PAGE_MAX = 1000
"""Devices in one answer."""
WAIT_MAX_S = 60.0
_CHUNK = 50
"""Devices; well below a millisecond."""
_ID_BYTES = 256
_STATES = ("online", "offline", "unknown")
_ETAG = re.compile(r'(?:W/)?"?([0-9]{1,18})"?', re.ASCII)


class Refused(Exception):
    """What was asked cannot be done; for whom asked."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


Change = Callable[[dict[str, str]], dict[str, str]]
"""Makes a device's labels of those that it has."""


class Fleet(Protocol):
    """What the gateway knows of devices, and what it can have done with them."""

    def names(self) -> list[str]:
        """Of all devices that it has documents of."""

    def row(self, device: str) -> tuple[Row, Belief] | None:
        """None: it has no document of this one."""

    def document(self, device: str) -> bytes | None:
        """As it is kept here."""

    def watch(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """Calls `changed` with each device whose document is another from now on, or gone. What is returned ends it."""

    async def desire(self, wish: Wish) -> dict[str, Any]:
        """What came of it: `device`, `version` (None: removed), `outcome`. Raises Refused."""

    async def label(self, device: str, change: Change, wait_s: float) -> dict[str, Any]:
        """What came of it: `device`, `labels`, `labels_version`, `outcome`. Raises Refused."""

    async def command(self, device: str, order: bytes, wait_s: float) -> dict[str, Any]:
        """What came of it: `device`, `id`, `outcome`; of a final one all that its record says. Raises Refused."""


class Wish(msgspec.Struct, frozen=True):
    """What is to be desired of a device."""

    device: str
    state: dict[str, Any] | None
    """None: nothing any more."""
    patch: bool = False
    """`state` changes what is desired so far (RFC 7386)."""
    version: int | None = None
    """None: the next."""
    if_version: int | None = None
    """The present version, which has to be this one; 0: none; None: any."""
    wait_s: float = 0.0
    """How long to wait until it has come back from Kafka."""


class _Whole(msgspec.Struct, forbid_unknown_fields=True):
    state: dict[str, Any]
    version: int | None = None


class DevicePages:
    """One for the daemon; `pages` are for the HTTP server."""

    def __init__(self, settings: Admin, fleet: Fleet, lets_in: Callable[[Request], Answer | None]) -> None:
        """Args:
        settings: bounds.
        fleet: knows the devices.
        lets_in: None for a request that may be answered, else what it is told instead.
        """
        self._settings = settings
        self._fleet = fleet
        self._lets_in = lets_in
        self._watchers = 0

    def pages(self) -> dict[tuple[str, str], Page]:
        """By method and path."""
        desired = "/devices/{}/desired"
        return {
            ("GET", "/devices"): self._guarded(self._list),
            ("GET", "/devices/{}"): self._guarded(self._show),
            ("PUT", desired): self._guarded(self._put),
            ("PATCH", desired): self._guarded(self._patch),
            ("DELETE", desired): self._guarded(self._delete),
            ("PUT", "/devices/{}/labels"): self._guarded(self._label),
            ("PATCH", "/devices/{}/labels"): self._guarded(self._relabel),
            ("POST", "/devices/{}/commands"): self._guarded(self._command),
        }

    def _guarded(self, page: Page) -> Page:
        async def answer(request: Request) -> Answer:
            refusal = self._lets_in(request)
            if refusal is not None:
                return refusal
            try:
                return await page(request)
            except Refused as error:
                return say(error.status, {"error": str(error)})

        return answer

    # What there is.

    async def _list(self, request: Request) -> Answer:
        query = _query(request.query)
        asked, watch = _asked(query), _flag(query, "watch")
        after, limit = _one(query, "after", ""), _number(query, "limit", PAGE_MAX, 1, PAGE_MAX)
        _nothing_else(query)
        if watch or LINES in request.headers.get("accept", ""):
            if self._watchers >= self._settings.watchers:
                raise Refused(503, f"as many as may do so list or watch devices now (admin.watchers, {self._watchers})")
            return Answer(b"", content_type=LINES, stream=self._lines(asked, watch=watch))
        names = [each async for each in self._page(asked, after, limit + 1)]
        return await self._as_page(names, limit)

    async def _page(self, asked: Asked, after: str, most: int) -> AsyncGenerator[str, None]:
        """The first names behind `after`, in their order."""
        first: list[str] = []
        async for chunk in _in_turns(self._fleet.names()):
            last = first[-1] if len(first) == most else None
            names = [name for name in chunk if name > after and (last is None or name < last)]
            if found := [name for name, _ in self._found(names, asked)]:
                first = heapq.nsmallest(most, [*first, *found])
        for name in first:
            yield name

    def _found(self, names: list[str], asked: Asked) -> Iterator[tuple[str, Belief]]:
        by_name = asked.of_name()
        for name in names:
            known = self._fleet.row(name) if by_name(name) else None
            if known is not None and asked.takes(*known):
                yield name, known[1]

    async def _as_page(self, names: list[str], limit: int) -> Answer:
        documents: list[bytes] = []
        last, left = "", self._settings.page_bytes
        async for chunk in _in_turns(names[:limit]):
            for name in chunk:
                line = self._line(name)
                if line is None:
                    continue
                if documents and left < len(line):
                    return _page_of(documents, last)
                documents.append(line)
                last, left = name, left - len(line)
        return _page_of(documents, last if len(names) > limit else None)

    def _line(self, device: str) -> bytes | None:
        known, document = self._fleet.row(device), self._fleet.document(device)
        return with_belief(document, known[1]) if known is not None and document is not None else None

    async def _lines(self, asked: Asked, *, watch: bool) -> AsyncGenerator[bytes, None]:
        """All of them as they come, an empty line, and with `watch` every change from the beginning on.

        Of a device that has changed more than once while the reader was slow, it gets what is now.
        """
        self._watchers += 1
        changed: dict[str, None] = {}
        rung, told = asyncio.Event(), set[str]()

        def tell(device: str) -> None:
            changed[device] = None
            rung.set()

        forget = self._fleet.watch(tell) if watch else lambda: None
        try:
            async for chunk in _in_turns(self._fleet.names()):
                if lines := b"".join(self._news(chunk, asked, told)):
                    yield lines
            yield b"\n"
            while watch:
                try:
                    async with asyncio.timeout(self._settings.keepalive / 2):
                        await rung.wait()
                except TimeoutError:
                    yield b"\n"  # so that either side sees whether the other is there
                rung.clear()
                while changed:
                    chunk = [changed.popitem()[0] for _ in range(min(_CHUNK, len(changed)))]
                    if lines := b"".join(self._news(chunk, asked, told)):
                        yield lines
                    await asyncio.sleep(0)
        finally:
            self._watchers -= 1
            forget()

    def _news(self, names: list[str], asked: Asked, told: set[str]) -> Iterator[bytes]:
        by_name = asked.of_name()
        for name in filter(by_name, names):
            known = self._fleet.row(name)
            if known is None:
                if name in told:
                    told.discard(name)
                    yield msgspec.json.encode({"device": name, "removed": True}) + b"\n"
                continue
            if asked.takes(*known):
                told.add(name)
            elif name not in told:
                continue
            else:
                told.discard(name)  # told once more, as it is now
            yield (self._line(name) or b"") + b"\n"

    async def _show(self, request: Request) -> Answer:
        _nothing_else(_query(request.query))
        (device,) = request.names
        known, line = self._fleet.row(device), self._line(device)
        if known is None or line is None:
            raise Refused(404, f"this gateway has no document of {device!r}")
        return Answer(line + b"\n", headers=(("ETag", f'"{known[0].own_version}"'),))

    # What is to be.

    async def _put(self, request: Request) -> Answer:
        whole = _decoded(request.body, _Whole, 'an object like {"state": {…}}, perhaps with "version"')
        return await self._desire(request, whole.state, version=whole.version)

    async def _patch(self, request: Request) -> Answer:
        return await self._desire(
            request, _decoded(request.body, dict[str, Any], "a merge patch, an object"), patch=True
        )

    async def _delete(self, request: Request) -> Answer:
        return await self._desire(request, None)

    async def _desire(
        self, request: Request, state: dict[str, Any] | None, *, patch: bool = False, version: int | None = None
    ) -> Answer:
        (device,) = request.names
        wish = Wish(_device(device), state, patch, version, _if_match(request.headers), _wait(request))
        return _said(await self._fleet.desire(wish))

    async def _label(self, request: Request) -> Answer:
        labels = _decoded(request.body, dict[str, str], 'an object of strings, like {"site": "north"}')
        (device,) = request.names
        return _said(await self._fleet.label(_device(device), lambda before: labels, _wait(request)))

    async def _relabel(self, request: Request) -> Answer:
        changes = _decoded(request.body, dict[str, str | None], 'an object like {"site": "north", "old": null}')
        (device,) = request.names

        def change(labels: dict[str, str]) -> dict[str, str]:
            return {key: value for key, value in (labels | changes).items() if value is not None}

        return _said(await self._fleet.label(_device(device), change, _wait(request)))

    async def _command(self, request: Request) -> Answer:
        (device,) = request.names
        return _said(await self._fleet.command(_device(device), request.body, _wait(request)))


def say(status: int, body: Mapping[str, object]) -> Answer:
    """An answer in JSON."""
    return Answer(msgspec.json.encode(body) + b"\n", status)


def _said(done: dict[str, Any]) -> Answer:
    """Accepted, as long as nobody knows what came of it."""
    return say(202 if done["outcome"] == "kept" else 200, done)


def _page_of(documents: list[bytes], last: str | None) -> Answer:
    return Answer(b'{"devices":[' + b",".join(documents) + b'],"next":' + msgspec.json.encode(last) + b"}\n", 200, JSON)


async def _in_turns(names: list[str]) -> AsyncGenerator[list[str], None]:
    """A few, and then it is somebody else's turn."""
    for start in range(0, len(names), _CHUNK):
        yield names[start : start + _CHUNK]
        await asyncio.sleep(0)


def _query(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=100, errors="strict")
    except (ValueError, UnicodeDecodeError) as error:
        raise Refused(400, f"the query cannot be read: {error}") from error
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _asked(query: dict[str, list[str]]) -> Asked:
    labels = tuple(query.pop("label", ()))
    try:
        for label in labels:
            check_group(label)
    except BadLabels as error:
        raise Refused(400, str(error)) from error
    return Asked(
        tuple(query.pop("device", ())),
        frozenset(state for state in _STATES if _flag(query, state)),
        frozenset(query.pop("gateway", ())),
        labels,
        _flag(query, "pending"),
    )


def _flag(query: dict[str, list[str]], name: str) -> bool:
    value = _one(query, name, "false")
    if value not in ("", "1", "true", "0", "false"):
        raise Refused(400, f"{name} is true or false, not {value!r}")
    return value in ("", "1", "true")


def _one(query: dict[str, list[str]], name: str, default: str) -> str:
    values = query.pop(name, [default])
    if len(values) > 1:
        raise Refused(400, f"{name} is there {len(values)} times")
    return values[0]


def _number(query: dict[str, list[str]], name: str, default: int, least: int, most: int) -> int:
    value = _one(query, name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) or not least <= int(value) <= most:
        raise Refused(400, f"{name} is a number from {least} to {most}, not {value!r}")
    return int(value)


def _nothing_else(query: dict[str, list[str]]) -> None:
    if query:
        raise Refused(400, f"nobody knows what {', '.join(sorted(query))} in the query means")


def _wait(request: Request) -> float:
    query = _query(request.query)
    seconds = _number(query, "wait", 0, 0, int(WAIT_MAX_S))
    _nothing_else(query)
    return float(seconds)


def _if_match(headers: Mapping[str, str]) -> int | None:
    value = headers.get("if-match", "").strip()
    if value in ("", "*"):
        return None
    match = _ETAG.fullmatch(value)
    if match is None:
        raise Refused(400, f'If-Match is a version of the desired state, as "4", not {value!r}')
    return int(match[1])


def _device(name: str) -> str:
    """What can be the key of a record. Raises Refused."""
    if not 0 < len(name.encode()) <= _ID_BYTES or "/" in name or not name.isprintable():
        raise Refused(400, f"a device's id has 1 to {_ID_BYTES} bytes, without / and control characters")
    return name


def _decoded(body: bytes, shape: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"the body is not {what}: {error}") from error
