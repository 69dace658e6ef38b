"""A device's document as a page for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from bridge.belief import Belief, Presence
from bridge.cli.output import printable

_NOTHING = "nothing"


class Origin(msgspec.Struct):
    """A group that has a part in what is desired."""

    group: str = ""
    version: int = 0


class Half(msgspec.Struct):
    """Reported or desired state."""

    version: int = 0
    at: str = ""
    state: dict[str, Any] = {}
    own: Half | msgspec.UnsetType | None = msgspec.UNSET
    groups: list[Origin] = []


class Page(msgspec.Struct):
    """What is shown of a document."""

    presence: Presence | None = None
    reported: Half | None = None
    desired: Half | None = None
    delta: dict[str, Any] = {}
    labels: dict[str, str] = {}


def page_lines(device: str, value: bytes, belief: Belief) -> Iterator[str]:
    """Yield the lines.

    Args:
        device: its id.
        value: the document as the topic has it.
        belief: what of its presence may be believed now.
    """
    try:
        page = msgspec.json.decode(value, type=Page)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        yield f"{printable(device)}: what the topic has is no device document: {error}"
        return
    since = f" since {belief.since}" if belief.since else ""
    yield printable(f"{device} is {belief.state}{since}")
    yield printable(f"  {belief.why}")
    if page.presence is not None:
        yield from _connection(page.presence, belief)
    if page.labels:
        yield printable("labels: " + " ".join(f"{key}={value}" for key, value in sorted(page.labels.items())))
    yield from _half("reported", page.reported)
    yield from _half("desired", page.desired)
    yield from _lacking(page)


def _connection(presence: Presence, belief: Belief) -> Iterator[str]:
    if belief.state != presence.state:
        yield f"  the document says {presence.state} since {presence.since}"
    yield printable(f"  gateway {presence.gateway}, epoch {presence.gateway_epoch}")
    if presence.connected:
        how = [presence.protocol, f"{presence.address} address" if presence.address else None]
        how.append(f"{presence.session} session" if presence.session else None)
        yield printable(f"  connected {presence.connected}" + "".join(f", {each}" for each in how if each))
    if presence.state != "online":
        yield printable(f"  last seen {presence.last_seen}")


def _half(name: str, half: Half | None) -> Iterator[str]:
    if half is None:
        yield f"{name}: {_NOTHING}"
        return
    yield printable(f"{name}: version {half.version}, {half.at}")
    yield from ("  " + printable(line) for line in _pretty(half.state).splitlines())
    if half.own is not msgspec.UNSET:
        parts = [f"group {each.group} version {each.version}" for each in half.groups]
        parts += [f"its own version {half.own.version}"] if half.own is not None else []
        yield "  from " + printable(", then ".join(parts))


def _lacking(page: Page) -> Iterator[str]:
    """What is desired and not reported, value by value."""
    if page.desired is None:
        return
    if not page.delta:
        yield "in step: it reports all that is desired"
        return
    yield "missing in reported:"
    reported = page.reported.state if page.reported is not None else {}
    for path, wanted, has in _differences((), page.delta, reported):
        yield "  " + printable(f"{'.'.join(path)}: {_wanted(wanted)}, it reports {_word(has)}")


def _differences(
    path: tuple[str, ...], delta: dict[str, Any], reported: Any
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    for name, wanted in delta.items():
        has = reported.get(name, msgspec.UNSET) if isinstance(reported, dict) else msgspec.UNSET
        if isinstance(wanted, dict) and isinstance(has, dict) and wanted:
            yield from _differences((*path, name), wanted, has)
        else:
            yield (*path, name), wanted, has


def _wanted(value: Any) -> str:
    return "to be removed" if value is None else f"desired {_word(value)}"


def _word(value: Any) -> str:
    return _NOTHING if value is msgspec.UNSET else msgspec.json.encode(value).decode()


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
