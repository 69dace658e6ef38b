"""The devices' pages over documents in memory: order and bounds of pages, and everybody else's turn meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from bridge.admin.devices import DevicePages, Refused, Wish
from bridge.admin.http import Answer, Request
from bridge.belief import Belief
from bridge.config import Admin
from bridge.row import Row, row_of

HERE = Belief("online", "", "")


class Documents:
    """A fleet of which nothing can be desired: its documents, in any order."""

    def __init__(self, names: list[str], ballast: int = 0) -> None:
        self.documents = {name: json.dumps({"device": name, "ballast": "x" * ballast}).encode() for name in names}
        self.watchers: list[Callable[[str], None]] = []

    def names(self) -> list[str]:
        return list(self.documents)

    def row(self, device: str) -> tuple[Row, Belief] | None:
        value = self.documents.get(device)
        return (row_of(value), HERE) if value is not None else None

    def document(self, device: str) -> bytes | None:
        return self.documents.get(device)

    def watch(self, changed: Callable[[str], None]) -> Callable[[], None]:
        self.watchers.append(changed)
        return lambda: self.watchers.remove(changed)

    async def desire(self, wish: Wish) -> dict[str, Any]:
        raise Refused(501, wish.device)

    async def command(self, device: str, order: bytes, wait_s: float) -> dict[str, Any]:
        raise Refused(501, device)


async def get(fleet: Documents, query: str, settings: Admin, accept: str = "") -> Answer:
    page = DevicePages(settings, fleet, lambda request: None).pages()["GET", "/devices"]
    return await page(Request("GET", "/devices", query=query, headers={"accept": accept}))


@pytest.mark.parametrize("seed", range(3))
async def test_pages_are_in_order_whatever_the_order_of_the_documents(seed: int) -> None:
    names = [f"dev-{number:04}" for number in range(777)]
    shuffled = random.Random(seed).sample(names, len(names))
    fleet, found, after = Documents(shuffled), [], ""
    while after is not None:
        page = json.loads((await get(fleet, f"limit=50&after={after}", Admin())).body)
        found += [each["device"] for each in page["devices"]]
        after = page["next"]
    assert found == names


async def test_a_page_has_no_more_bytes_than_it_may_and_none_is_left_out() -> None:
    names = [f"dev-{number}" for number in range(9)]
    fleet, pages, after = Documents(names, ballast=1000), [], ""
    while after is not None:
        body = (await get(fleet, f"after={after}", Admin(page_bytes=3500))).body
        page = json.loads(body)
        pages.append([each["device"] for each in page["devices"]])
        after = page["next"]
    assert pages == [names[0:3], names[3:6], names[6:9]]
    alone = json.loads((await get(fleet, "", Admin(page_bytes=1))).body)
    assert [each["device"] for each in alone["devices"]] == ["dev-0"], "one too large is given alone"


@pytest.mark.parametrize("accept", ["", "application/x-ndjson"], ids=["page", "lines"])
async def test_others_have_their_turn_between_fifty_devices(accept: str) -> None:
    fleet, turns, over = Documents([f"dev-{number}" for number in range(5000)]), 0, asyncio.Event()

    async def others() -> None:
        nonlocal turns
        while not over.is_set():
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(others())
    answer = await get(fleet, "", Admin(), accept)
    lines = [part async for part in answer.stream] if answer.stream is not None else []
    over.set()
    await counting
    assert turns >= 100
    assert b"".join(lines).count(b"\n") == (5001 if accept else 0)


async def test_a_stream_that_is_closed_leaves_nothing_behind() -> None:
    fleet = Documents(["dev-1"])
    answer = await get(fleet, "watch", Admin(watchers=1))
    assert answer.stream is not None
    assert json.loads(await anext(answer.stream))["device"] == "dev-1"
    assert len(fleet.watchers) == 1
    await answer.stream.aclose()
    assert fleet.watchers == []


async def test_a_slow_reader_gets_what_is_now_and_not_each_change() -> None:
    fleet = Documents(["dev-1"])
    answer = await get(fleet, "watch", Admin())
    assert answer.stream is not None
    assert [json.loads(await anext(answer.stream))["device"], await anext(answer.stream)] == ["dev-1", b"\n"]
    for number in range(1000):
        fleet.documents["dev-1"] = json.dumps({"device": "dev-1", "number": number}).encode()
        for tell in fleet.watchers:
            tell("dev-1")
    assert json.loads(await anext(answer.stream))["number"] == 999
    del fleet.documents["dev-1"]
    for tell in fleet.watchers:
        tell("dev-1")
    assert json.loads(await anext(answer.stream)) == {"device": "dev-1", "removed": True}
    await answer.stream.aclose()
