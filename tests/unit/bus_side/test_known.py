"""What is known of the state topic, packed and counted, beside the documents themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from bridge.bus_side.known import Known
from bridge.bus_side.sketch import Sketch, lease_over, sketch_of
from bridge.bus_side.topic_tail import Place, Taken

TIMES = st.sampled_from(["", *(f"2026-11-21T10:00:0{second}.000Z" for second in range(4))])
NAMES = st.sampled_from(["gw-a", "gw-b"])
PRESENCES = st.none() | st.fixed_dictionaries(
    {"state": st.sampled_from(["online", "online", "offline", "unknown"]), "gateway": NAMES,
     "gateway_epoch": st.integers(1, 2), "connected": TIMES, "lease_until": st.none() | TIMES}
)  # fmt: skip
DEVICES = st.tuples(
    st.sampled_from(["dev-1", "dev-2", "dev-3"]),
    st.none() | st.fixed_dictionaries({"presence": PRESENCES, "reported": st.none() | st.just({"version": 3})}),
)
GATEWAYS = st.tuples(
    NAMES.map("gateway/{}".format),
    st.none() | st.fixed_dictionaries({"epoch": st.integers(1, 2), "lease_until": TIMES, "started": TIMES}),
)


class Tail:
    """See `topic_tail.Tail`."""

    def __init__(self) -> None:
        self.looked: dict[int, int] = {}
        self.coming: list[Taken] = []

    def given(self, take: Callable[[Taken], None]) -> Tail:
        self._take = take
        return self

    async def refresh(self) -> None:
        for record in self.coming:
            self._take(record)

    async def fetch(self, wanted: Collection[Place]) -> dict[Place, bytes | None]:
        return {}

    async def close(self) -> None:
        return None


@given(st.lists(DEVICES | GATEWAYS), TIMES, st.sets(NAMES))
async def test_who_is_outlived_and_who_present(values: list[tuple[str, object]], before: str, names: set[str]) -> None:
    tail = Tail()
    known = Known(tail.given, "device-state", "gw-a")
    devices: dict[str, Sketch] = {}
    gateways: dict[str, Sketch] = {}
    for offset, (key, value) in enumerate(values):
        body = json.dumps(value).encode() if value is not None else None
        tail.coming.append(ConsumerRecord("device-state", 0, offset, 0, 0, key.encode(), body, None, 0, 0, ()))
        held = gateways if key.startswith("gateway/") else devices
        held.pop(key.removeprefix("gateway/"), None)
        if body is not None:
            held[key.removeprefix("gateway/")] = sketch_of(body)
    await known.refresh()
    over = {name for name, each in devices.items() if lease_over(each, gateways, before) and each.gateway not in names}
    assert set(known.outlived(before, names)) == over
    assert set(known.present(names)) == {
        name
        for name, each in devices.items()
        if each.presence is not None and each.presence.state != "offline" and each.gateway in names
    }
    for name, each in devices.items():
        entry = known.entry(name)
        assert entry is not None
        assert (entry.sketch.presence, entry.reported_version) == (each.presence, each.reported_version)
